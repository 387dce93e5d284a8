"""What mail services tell over HTTP of mails that went through them, each in its own form. Pure.

Amazon SES: notifications over SNS (docs.aws.amazon.com, `notification-contents`, `sns-verify-signature-of-message`).
SendGrid: signed event webhook (twilio.com/docs/sendgrid, `tracking-events/event`). Mailgun: documentation.mailgun.com,
`events/webhooks`. Postmark: postmarkapp.com/developer/webhooks; it signs nothing. All as of November 2026.
"""

import hmac
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate

from notify_service.domain.bounces import (
    ARRIVED,
    COMPLAINT,
    DELAYED,
    ENHANCED,
    HARD,
    OPTED_OUT,
    POLICY,
    SOFT,
    UNSUBSCRIBED,
    About,
    Meaning,
    delivery_of,
    event,
    failed,
)
from notify_service.domain.channels.inbound import Event

Headers = Mapping[str, str]
"""Names in small letters."""
Item = Mapping[str, Any]
Outcomes = Iterator[tuple[Any, Meaning, str | None]]
"""Address, what became of its mail, code."""
_AMAZON = r"https://sns\.[a-z0-9-]{1,30}\.amazonaws\.com(?:\.cn)?"
# No more than the form that Amazon uses: an answer of its API may quote whoever asks it, certificates and all.
_CERTIFICATE = r"/SimpleNotificationService-[A-Za-z0-9]{1,100}\.pem"
_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_TO_CONFIRM = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_MAX_TEXT = 320


@dataclass(frozen=True, slots=True)
class Hook:
    """A service's webhook. `key` is what it signs with, or shows; see the functions."""

    verify: Callable[[bytes, Headers, str, bytes], bool]
    """Whether the service has sent this: the raw body, its headers, the key, and for SES the certificate."""
    items: Callable[[Any], Iterator[Event | None]]


def parse(service: str, raw: bytes) -> list[Event]:
    """All events of a body. Raises ValueError for one that is none of this service's."""
    try:
        return [each for each in HOOKS[service].items(json.loads(raw)) if each is not None]
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"This is nothing that {service} sends.") from error


def certificate_url(raw: bytes, topic: str, base_url: str | None = None) -> str:
    """Where the certificate of an SNS message of this topic is. `base_url`: instead of Amazon. Raises ValueError for an
    address that is not there, and for messages of other topics, for which nobody needs one."""
    message = _object(raw)
    url, there = message.get("SigningCertURL"), re.escape(base_url) if base_url else _AMAZON
    if not isinstance(url, str) or not re.fullmatch(there + _CERTIFICATE, url):
        raise ValueError("The certificate is not Amazon's.")
    if not _equal(str(message.get("TopicArn")), topic):
        raise ValueError("This is of another topic.")
    return url


def confirmation_url(raw: bytes, base_url: str | None = None) -> str | None:
    """The address that is to be visited to get notifications, if that is what a verified message asks for."""
    message = _object(raw)
    url, there = message.get("SubscribeURL"), re.escape(base_url) if base_url else _AMAZON
    if message.get("Type") != "SubscriptionConfirmation" or not isinstance(url, str):
        return None
    return url if re.fullmatch(there + r"/\?[\x21-\x7e]{1,2000}", url) else None


def _verify_ses(raw: bytes, headers: Headers, key: str, certificate: bytes) -> bool:
    """`key` is the ARN of the topic: Amazon signs the messages of everybody's."""
    del headers
    try:
        message = _object(raw)
        names = _SIGNED if message.get("Type") == "Notification" else _SIGNED_TO_CONFIRM
        signed = "".join(f"{name}\n{message[name]}\n" for name in names if name != "Subject" or name in message)
        public = load_pem_x509_certificate(certificate).public_key()
        if not isinstance(public, RSAPublicKey) or not _equal(str(message["TopicArn"]), key):
            return False
        digest = hashes.SHA256() if message.get("SignatureVersion") == "2" else hashes.SHA1()  # noqa: S303
        public.verify(b64decode(message["Signature"], validate=True), signed.encode(), PKCS1v15(), digest)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError, TypeError):
        return False
    return True


def _verify_sendgrid(raw: bytes, headers: Headers, key: str, certificate: bytes) -> bool:
    """`key` is the public key that SendGrid shows: base64 of DER."""
    del certificate
    signature = headers.get("x-twilio-email-event-webhook-signature", "")
    at = headers.get("x-twilio-email-event-webhook-timestamp", "")
    try:
        public = load_der_public_key(b64decode(key, validate=True))
        if not isinstance(public, EllipticCurvePublicKey):
            return False
        public.verify(b64decode(signature, validate=True), at.encode() + raw, ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _verify_mailgun(raw: bytes, headers: Headers, key: str, certificate: bytes) -> bool:
    """`key` is the HTTP webhook signing key. What is signed is a token and a time, not what is said."""
    del headers, certificate
    try:
        given = _object(raw)["signature"]
        expected = hmac.new(key.encode(), f"{given['timestamp']}{given['token']}".encode(), sha256).hexdigest()
        return bool(key) and _equal(str(given["signature"]), expected)
    except (ValueError, KeyError, TypeError):
        return False


def _verify_postmark(raw: bytes, headers: Headers, key: str, certificate: bytes) -> bool:
    """`key` is `user:password` of the webhook's address."""
    del raw, certificate
    scheme, _, given = headers.get("authorization", "").partition(" ")
    try:
        return bool(key) and scheme.lower() == "basic" and _equal(b64decode(given, validate=True).decode(), key)
    except ValueError:
        return False


def _of_ses(body: Item) -> Iterator[Event | None]:
    if body["Type"] != "Notification":
        return
    said = json.loads(body["Message"])
    kind = said.get("notificationType") or said["eventType"]
    read = _SES.get(kind)
    if read is None:
        return
    mail, told = said["mail"], said[kind[:1].lower() + kind[1:]]
    # Present where the original headers are asked for.
    ours = next((each["value"] for each in mail.get("headers", []) if each["name"].lower() == "message-id"), None)
    about = About(delivery_of(ours), _text(mail["messageId"]))
    for peer, meaning, code in read(told):
        key = ("ses", mail["messageId"], kind, peer, code)
        yield event(meaning, about, key=key, peer=_text(peer), code=code, at=_iso(told.get("timestamp")))


def _ses_bounces(told: Item) -> Outcomes:
    for each in told["bouncedRecipients"]:
        code = _enhanced(each.get("status"), each.get("diagnosticCode"))
        yield each["emailAddress"], _ses_bounce(told, code), code


def _ses_complaints(told: Item) -> Outcomes:
    for each in told["complainedRecipients"]:
        yield each["emailAddress"], COMPLAINT, "complaint"


def _ses_deliveries(told: Item) -> Outcomes:
    for peer in told["recipients"]:
        yield peer, ARRIVED, None


def _ses_delays(told: Item) -> Outcomes:
    for each in told["delayedRecipients"]:
        yield each["emailAddress"], DELAYED, _enhanced(each.get("status"), each.get("diagnosticCode"))


_SES: Mapping[str, Callable[[Item], Outcomes]] = {
    "Bounce": _ses_bounces,
    "Complaint": _ses_complaints,
    "Delivery": _ses_deliveries,
    "DeliveryDelay": _ses_delays,
}


def _ses_bounce(bounce: Item, code: str | None) -> Meaning:
    if bounce["bounceType"] != "Permanent":
        return SOFT
    # `General` has no better word for addresses that are dead; SES itself suppresses them.
    dead = bounce.get("bounceSubType") in {"General", "NoEmail", "Suppressed", "OnAccountSuppressionList"}
    return HARD if dead and (code is None or failed(code) is not POLICY) else failed(code or "")


def _of_sendgrid(body: Any) -> Iterator[Event | None]:
    if not isinstance(body, list):
        raise TypeError
    for item in body:
        kind, reason = item["event"], str(item.get("reason", ""))
        code = _enhanced(item.get("status"), reason, item.get("response"))
        meaning = _sendgrid_meaning(item, kind, reason, code)
        if meaning is None:
            continue
        yield event(
            meaning,
            # The id that SMTP has told, and behind it what was done with the mail.
            About(delivery_of(_text(item.get("smtp-id"))), _text(str(item.get("sg_message_id", "")).partition(".")[0])),
            key=("sendgrid", item["sg_event_id"]),
            peer=_text(item["email"]),
            code=code or kind,
            at=_seconds(item.get("timestamp")),
        )


def _sendgrid_meaning(item: Item, kind: str, reason: str, code: str | None) -> Meaning | None:
    if kind == "bounce":
        if item.get("type") == "blocked":
            return POLICY if code and failed(code) is POLICY else SOFT
        return HARD if code is None or failed(code) is not POLICY else POLICY
    if kind == "dropped":
        return _DROPPED.get(reason.lower(), POLICY)
    return _SENDGRID.get(kind)


def _of_mailgun(body: Item) -> Iterator[Event | None]:
    item = body["event-data"]
    kind, status = item["event"], item.get("delivery-status") or {}
    code = _enhanced(status.get("enhanced-code"), status.get("message"), status.get("description"))
    meaning = _MAILGUN.get(kind)
    if kind == "failed":
        meaning = _mailgun_failure(item, code)
    if meaning is None:
        return
    yield event(
        meaning,
        About(delivery_of(_text(item.get("message", {}).get("headers", {}).get("message-id")))),
        key=("mailgun", item["id"]),
        peer=_text(item["recipient"]),
        code=code or kind,
        at=_seconds(item.get("timestamp")),
    )


def _mailgun_failure(item: Item, code: str | None) -> Meaning:
    if item.get("severity") != "permanent":
        return DELAYED
    reason = item.get("reason")
    if reason in {"suppress-complaint", "suppress-unsubscribe"}:
        return OPTED_OUT
    return HARD if reason == "suppress-bounce" else failed(code or "")


def _of_postmark(body: Item) -> Iterator[Event | None]:
    kind = body["RecordType"]
    meaning, code = _POSTMARK.get(kind), kind
    if kind == "Bounce":
        code = body["Type"]
        meaning = _POSTMARK_BOUNCES.get(code, SOFT)
    elif kind == "SubscriptionChange" and body.get("SuppressSending"):
        meaning = UNSUBSCRIBED
    if meaning is None:
        return
    at = body.get("BouncedAt") or body.get("DeliveredAt") or body.get("ChangedAt")
    yield event(
        meaning,
        About(_uuid(_mapping(body.get("Metadata")).get("delivery")), _text(body["MessageID"])),
        key=("postmark", body["MessageID"], kind, body.get("ID"), at),
        peer=_text(body.get("Email") or body["Recipient"]),
        code=code,
        at=_iso(at),
    )


_SENDGRID: Mapping[str, Meaning] = {
    "delivered": ARRIVED,
    "deferred": DELAYED,
    "spamreport": COMPLAINT,
    "unsubscribe": UNSUBSCRIBED,
    "group_unsubscribe": UNSUBSCRIBED,
}
_DROPPED: Mapping[str, Meaning] = {
    "bounced address": HARD,
    "invalid": HARD,
    "spam reporting address": OPTED_OUT,
    "unsubscribed address": OPTED_OUT,
}
_MAILGUN: Mapping[str, Meaning] = {"delivered": ARRIVED, "complained": COMPLAINT, "unsubscribed": UNSUBSCRIBED}
_POSTMARK: Mapping[str, Meaning] = {"Delivery": ARRIVED, "SpamComplaint": COMPLAINT}
_POSTMARK_BOUNCES: Mapping[str, Meaning | None] = {
    "HardBounce": HARD,
    "BadEmailAddress": HARD,
    "ManuallyDeactivated": HARD,
    "SpamComplaint": COMPLAINT,
    "Unsubscribe": UNSUBSCRIBED,
    "Blocked": POLICY,
    "SpamNotification": POLICY,
    "DMARCPolicy": POLICY,
    "Transient": DELAYED,
    # They have arrived, and nothing is wrong with the address.
    "AutoResponder": None,
    "AddressChange": None,
    "Subscribe": None,
    "ChallengeVerification": None,
}

HOOKS: Mapping[str, Hook] = {
    "ses": Hook(_verify_ses, _of_ses),
    "sendgrid": Hook(_verify_sendgrid, _of_sendgrid),
    "mailgun": Hook(_verify_mailgun, _of_mailgun),
    "postmark": Hook(_verify_postmark, _of_postmark),
}


def _object(raw: bytes) -> Item:
    try:
        found = json.loads(raw)
    except RecursionError:
        raise ValueError("This is no message.") from None
    if not isinstance(found, dict):
        raise ValueError("This is no message.")  # noqa: TRY004  -- what is wrong is what was sent
    return found


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _enhanced(*said: Any) -> str | None:
    """The first enhanced code that says something, or else any."""
    found = [each[0] for text in said if isinstance(text, str) and (each := ENHANCED.search(text))]
    return next((code for code in found if not code.endswith(".0.0")), found[0] if found else None)


def _mapping(value: Any) -> Item:
    return value if isinstance(value, dict) else {}


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) and value else None


def _iso(value: Any) -> datetime | None:
    try:
        # Postmark has seven digits of a second, which is one more than Python reads.
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def _seconds(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
