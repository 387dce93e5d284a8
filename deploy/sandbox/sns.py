"""Amazon's SNS, through which SES tells what became of mails: a topic, its subscriber, and signed messages.

From docs.aws.amazon.com/sns (`sns-verify-signature-of-message`, `sns-message-and-json-formats`), November 2026.
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.sandbox.callbacks import Callbacks
from libs.clock import Clock, rfc3339
from libs.ids import uuid7

TOPIC = "arn:aws:sns:eu-west-1:000000000000:mail"
PEM = "SimpleNotificationService-0123456789abcdef.pem"
_SIGNED = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


class Sns:
    """One topic with one subscriber, which gets nothing before it has confirmed."""

    def __init__(self, clock: Clock) -> None:
        self.callbacks = Callbacks(self._pack)
        self.confirmed = False
        self.fetched = 0
        """How often the certificate was."""
        self._clock = clock
        self._token = ""
        self._base = ""

    def subscribe(self, url: str, base: str) -> None:
        """Asks whoever is at `url` to confirm. `base`: where this SNS is, as that one sees it."""
        self.confirmed, self._token, self._base = False, secrets.token_hex(16), base
        self.callbacks.manners = self.callbacks.manners.model_copy(update={"url": url})
        visit = f"{base}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={self._token}"
        asked = {"Message": "Visit the SubscribeURL.", "Token": self._token, "SubscribeURL": visit}
        self.callbacks.add({"Type": "SubscriptionConfirmation", **asked})

    def confirm(self, query: Mapping[str, str]) -> bool:
        given = query.get("Action") == "ConfirmSubscription" and query.get("Token") == self._token != ""
        self.confirmed = self.confirmed or given
        return given

    def publish(self, said: Mapping[str, Any]) -> None:
        """Nobody hears it who has not confirmed."""
        if self.confirmed:
            self.callbacks.add({"Type": "Notification", "Message": json.dumps(said)})

    @cached_property
    def certificate(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = self._clock.now()
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65_537, 2048)

    def _pack(self, items: Sequence[Any]) -> tuple[bytes, Mapping[str, str]]:
        """One message in a call, as SNS does it."""
        message = {
            **items[0],
            "MessageId": str(uuid7()),
            "TopicArn": TOPIC,
            "Timestamp": rfc3339(self._clock.now()),
            "SignatureVersion": "2",
            "SigningCertURL": f"{self._base}/{PEM}",
        }
        names = [name for name in _SIGNED if name in message]
        signed = "".join(f"{name}\n{message[name]}\n" for name in names).encode()
        message["Signature"] = b64encode(self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())).decode()
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": message["Type"]}
        return json.dumps(message).encode(), headers
