"""What mail services tell: signatures over the raw body, and each item in one form."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.email_hooks import HOOKS, certificate_url, confirmation_url, parse

DELIVERY = uuid4()
PEER = "ada@example.test"
MESSAGE_ID = f"<{DELIVERY}@example.test>"
TOPIC = "arn:aws:sns:eu-west-1:1:mail"
PEM = "SimpleNotificationService-abc.pem"
AMAZON_KEY = rsa.generate_private_key(65_537, 2048)
SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
NOW = datetime.now(UTC)
CERTIFICATE = (
    x509.CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(AMAZON_KEY.public_key())
    .serial_number(1)
    .not_valid_before(NOW - timedelta(days=1))
    .not_valid_after(NOW + timedelta(days=1))
    .sign(AMAZON_KEY, hashes.SHA256())
    .public_bytes(Encoding.PEM)
)


def sns(said: Any, *, version: str = "2", **changed: Any) -> bytes:
    """As Amazon signs it."""
    message = {
        "Type": "Notification",
        "MessageId": "m-1",
        "TopicArn": TOPIC,
        "Message": json.dumps(said),
        "Timestamp": "2026-01-02T03:04:05.000Z",
        "SignatureVersion": version,
        "SigningCertURL": f"https://sns.eu-west-1.amazonaws.com/{PEM}",
        **changed,
    }
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    digest = hashes.SHA256() if version == "2" else hashes.SHA1()
    message["Signature"] = base64.b64encode(AMAZON_KEY.sign(signed.encode(), padding.PKCS1v15(), digest)).decode()
    return json.dumps(message).encode()


def ses(kind: str, told: Any) -> bytes:
    mail = {
        "messageId": "ses-1",
        "destination": ["ada@example.test"],
        "headers": [{"name": "Message-ID", "value": MESSAGE_ID}],
    }
    at = {"timestamp": "2026-01-02T03:04:05.123Z"}
    return sns({"notificationType": kind, "mail": mail, kind[:1].lower() + kind[1:]: {**at, **told}})


def signed(service: str, raw: bytes) -> tuple[dict[str, str], str, bytes]:
    """Headers, key and certificate for a body."""
    if service == "ses":
        return {}, TOPIC, CERTIFICATE
    if service == "sendgrid":
        proof = SENDGRID_KEY.sign(b"1767323045" + raw, ec.ECDSA(hashes.SHA256()))
        public = SENDGRID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        headers = {
            "x-twilio-email-event-webhook-signature": base64.b64encode(proof).decode(),
            "x-twilio-email-event-webhook-timestamp": "1767323045",
        }
        return headers, base64.b64encode(public).decode(), b""
    if service == "postmark":
        return {"authorization": "Basic " + base64.b64encode(b"hook:hush").decode()}, "hook:hush", b""
    return {}, "signing-key", b""


def mailgun(event: str, **more: Any) -> bytes:
    proof = hmac.new(b"signing-key", b"1767323045token", "sha256").hexdigest()
    headers = {"message": {"headers": {"message-id": MESSAGE_ID.strip("<>")}}}
    return json.dumps(
        {
            "signature": {"timestamp": "1767323045", "token": "token", "signature": proof},
            "event-data": {
                "id": "e-1", "event": event, "recipient": PEER, "timestamp": 1767323045.1, **headers, **more,
            },
        }
    ).encode()  # fmt: skip


def sendgrid(*events: Any) -> bytes:
    usual = {
        "email": "ada@example.test",
        "timestamp": 1767323045,
        "smtp-id": MESSAGE_ID,
        "sg_message_id": "sg-1.filter",
    }
    return json.dumps([{**usual, "sg_event_id": f"e-{index}", **each} for index, each in enumerate(events)]).encode()


def postmark(kind: str, **more: Any) -> bytes:
    return json.dumps({"RecordType": kind, "MessageID": "pm-1", "Email": "ada@example.test", "ID": 1, **more}).encode()


BODIES = {
    "ses": ses("Delivery", {"recipients": ["ada@example.test"]}),
    "sendgrid": sendgrid({"event": "delivered"}),
    "mailgun": mailgun("delivered"),
    "postmark": postmark("Delivery", DeliveredAt="2026-01-02T03:04:05.1234567Z"),
}


@pytest.mark.promise("N29")
@pytest.mark.parametrize("service", BODIES)
def test_what_a_service_has_signed_is_believed_and_nothing_else(service: str) -> None:
    raw = BODIES[service]
    headers, key, certificate = signed(service, raw)
    verify = HOOKS[service].verify
    assert verify(raw, headers, key, certificate)
    assert not verify(raw, headers, "another:key", certificate)
    assert not verify(raw, headers, "", certificate)
    for name in headers:
        assert not verify(raw, {**headers, name: ""}, key, certificate)
        assert not verify(raw, {**headers, name: "Basic !!"}, key, certificate)
    if service in {"ses", "sendgrid"}:
        assert not verify(raw.replace(b"ada@", b"bob@"), headers, key, certificate)
    if service in {"ses", "mailgun"}:
        assert not verify(b"[]", headers, key, certificate)
        assert not verify(b"{", headers, key, certificate)


@pytest.mark.promise("N29")
def test_amazon_signs_for_our_topic_with_a_certificate_of_its_own() -> None:
    verify = HOOKS["ses"].verify
    assert verify(sns({}, version="1"), {}, TOPIC, CERTIFICATE)
    assert not verify(sns({}, TopicArn="arn:aws:sns:eu-west-1:2:other"), {}, TOPIC, CERTIFICATE)
    assert not verify(sns({}), {}, TOPIC, b"no certificate")
    assert certificate_url(sns({}), TOPIC).endswith("abc.pem")
    for url in (
        f"http://sns.eu-west-1.amazonaws.com/{PEM}",
        f"https://sns.eu-west-1.amazonaws.com.evil.test/{PEM}",
        f"https://evil.test/sns.eu-west-1.amazonaws.com/{PEM}",
        f"https://sns.eu-west-1.amazonaws.com@evil.test/{PEM}",
        f"https://sns.eu-west-1.amazonaws.com/?Action=GetTopicAttributes&x=/{PEM}",
        7,
    ):
        with pytest.raises(ValueError, match="Amazon"):
            certificate_url(sns({}, SigningCertURL=url), TOPIC)
    with pytest.raises(ValueError, match="topic"):
        certificate_url(sns({}), "arn:aws:sns:eu-west-1:2:other")


def test_subscription_is_confirmed_at_amazon_only() -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    asking = {"Type": "SubscriptionConfirmation", "Token": "t"}
    raw = sns("", SubscribeURL=url, **asking)
    assert HOOKS["ses"].verify(raw, {}, TOPIC, CERTIFICATE)
    assert confirmation_url(raw) == url
    assert parse("ses", raw) == []
    assert confirmation_url(sns("", SubscribeURL="https://evil.test/", **asking)) is None
    assert confirmation_url(BODIES["ses"]) is None


P, T = ErrorClass.PERMANENT, ErrorClass.TRANSIENT
DEAD = {"emailAddress": "ada@example.test", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"}
FULL = {"emailAddress": "ada@example.test", "status": "5.2.2"}


@pytest.mark.promise("N68")
@pytest.mark.parametrize(
    ("service", "raw", "state", "error", "effect", "code"),
    [
        ("ses", BODIES["ses"], "delivered", None, None, None),
        ("ses", ses("Bounce", {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [DEAD]}),
         "failed", P, Effect.SUPPRESS, "5.1.1"),
        ("ses", ses("Bounce", {"bounceType": "Transient", "bounceSubType": "MailboxFull", "bouncedRecipients": [FULL]}),
         "failed", T, None, "5.2.2"),
        ("ses", ses("Complaint", {"complainedRecipients": [{"emailAddress": "ada@example.test"}]}),
         "delivered", None, Effect.OPT_OUT, "complaint"),
        ("ses", ses("DeliveryDelay", {"delayedRecipients": [{"emailAddress": "ada@example.test", "status": "4.4.1"}]}),
         "sent", T, None, "4.4.1"),
        ("sendgrid", BODIES["sendgrid"], "delivered", None, None, "delivered"),
        ("sendgrid", sendgrid({"event": "bounce", "type": "bounce", "status": "5.0.0", "reason": "550 5.1.1 no"}),
         "failed", P, Effect.SUPPRESS, "5.1.1"),
        ("sendgrid", sendgrid({"event": "bounce", "type": "blocked", "status": "5.7.1", "reason": "550 no"}),
         "failed", P, None, "5.7.1"),
        ("sendgrid", sendgrid({"event": "deferred", "response": "451 4.7.1 later"}), "sent", T, None, "4.7.1"),
        ("sendgrid", sendgrid({"event": "dropped", "reason": "Unsubscribed Address"}),
         "failed", P, Effect.OPT_OUT, "dropped"),
        ("sendgrid", sendgrid({"event": "dropped", "reason": "Bounced Address"}),
         "failed", P, Effect.SUPPRESS, "dropped"),
        ("sendgrid", sendgrid({"event": "spamreport"}), "delivered", None, Effect.OPT_OUT, "spamreport"),
        ("mailgun", BODIES["mailgun"], "delivered", None, None, "delivered"),
        ("mailgun", mailgun("failed", severity="permanent", **{"delivery-status": {"enhanced-code": "5.1.1"}}),
         "failed", P, Effect.SUPPRESS, "5.1.1"),
        ("mailgun", mailgun("failed", severity="permanent", reason="suppress-unsubscribe"),
         "failed", P, Effect.OPT_OUT, "failed"),
        ("mailgun", mailgun("failed", severity="temporary"), "sent", T, None, "failed"),
        ("mailgun", mailgun("complained"), "delivered", None, Effect.OPT_OUT, "complained"),
        ("mailgun", mailgun("unsubscribed"), None, None, Effect.OPT_OUT, "unsubscribed"),
        ("postmark", BODIES["postmark"], "delivered", None, None, "Delivery"),
        ("postmark", postmark("Bounce", Type="HardBounce"), "failed", P, Effect.SUPPRESS, "HardBounce"),
        ("postmark", postmark("Bounce", Type="SoftBounce"), "failed", T, None, "SoftBounce"),
        ("postmark", postmark("Bounce", Type="SpamNotification"), "failed", P, None, "SpamNotification"),
        ("postmark", postmark("SpamComplaint"), "delivered", None, Effect.OPT_OUT, "SpamComplaint"),
        ("postmark", postmark("SubscriptionChange", SuppressSending=True),
         None, None, Effect.OPT_OUT, "SubscriptionChange"),
    ],
)  # fmt: skip
def test_item_has_one_form(
    service: str, raw: bytes, state: str | None, error: ErrorClass | None, effect: Effect | None, code: str | None
) -> None:
    [event] = parse(service, raw)
    assert (event.kind, event.state, event.error, event.effect, event.code) == ("receipt", state, error, effect, code)
    assert event.peer == "ada@example.test"
    expected = None if service == "postmark" else DELIVERY
    assert event.correlation == expected
    assert event.provider_id == {"ses": "ses-1", "sendgrid": "sg-1", "mailgun": None, "postmark": "pm-1"}[service]
    assert parse(service, raw)[0].dedupe_key == event.dedupe_key


@pytest.mark.promise("N30")
def test_all_items_of_a_body_are_told() -> None:
    events = parse(
        "sendgrid", sendgrid({"event": "processed"}, {"event": "delivered"}, {"event": "open"}, {"event": "spamreport"})
    )
    assert [event.code for event in events] == ["delivered", "spamreport"]
    both = [DEAD, {**FULL, "emailAddress": "bob@example.test"}]
    told = parse("ses", ses("Bounce", {"bounceType": "Permanent", "bounceSubType": "Other", "bouncedRecipients": both}))
    assert [(each.peer, each.effect) for each in told] == [
        ("ada@example.test", Effect.SUPPRESS),
        ("bob@example.test", None),
    ]
    assert len({each.dedupe_key for each in told}) == 2


@pytest.mark.parametrize(
    ("service", "raw"),
    [
        ("postmark", postmark("Bounce", Type="AutoResponder")),
        ("postmark", postmark("Open")),
        ("mailgun", mailgun("opened")),
        ("ses", ses("Send", {})),
    ],
)
def test_what_is_no_news_of_a_delivery_is_left_out(service: str, raw: bytes) -> None:
    assert parse(service, raw) == []


@pytest.mark.parametrize("service", BODIES)
@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b"7", b'[{"event": "bounce"}]', b"[" * 100_000, b'{"Type": "Notification"}']
)
def test_body_that_is_none_is_refused(service: str, raw: bytes) -> None:
    if (service, raw) == ("sendgrid", b"[]"):
        return
    with pytest.raises(ValueError):  # noqa: PT011  -- whatever is wrong
        parse(service, raw)
