"""Twilio's Programmable Messaging, as far as texts go: its accounts, refusals, receipts, and people who answer.

Shapes, codes and the numbers that always fail from twilio.com/docs (message resource, errors, test credentials,
security), as of November 2026.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import structlog

from deploy.sandbox.callbacks import Callbacks
from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "twilio"
ACCOUNT_SID = "AC" + "0" * 31 + "1"
AUTH_TOKEN = "sandbox-auth-token"  # noqa: S105  -- of a simulator
KEY_SID, KEY_SECRET = "SK" + "0" * 31 + "1", "sandbox-key-secret"
_KEPT = 1_000
_MOST_CHARACTERS = 1600
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_STOP = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"}
_START = {"START", "UNSTOP", "YES"}
# What Twilio's test credentials answer for these recipients.
_ALWAYS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}


@dataclass(frozen=True, slots=True)
class Media:
    """A file of a text."""

    sid: str
    type: str
    content: bytes = field(repr=False)


@dataclass(slots=True)
class Text:
    sid: str
    to: str
    sender: str
    body: str
    status: str
    at: datetime
    callback: str | None = None
    error_code: int | None = None
    incoming: bool = False
    media: tuple["Media", ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The message resource."""
        return {
            "sid": self.sid,
            "account_sid": ACCOUNT_SID,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": format_datetime(self.at),
            "date_updated": format_datetime(self.at),
            "direction": "inbound" if self.incoming else "outbound-api",
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender,
            "num_media": str(len(self.media)),
            "num_segments": "0",
            "status": self.status,
            "to": self.to,
            "uri": f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{self.sid}.json",
        }


class Refused(Exception):
    def __init__(self, code: int, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


@dataclass
class Twilio:
    effects: Effects
    clock: Clock
    faults: Faults = field(default_factory=Faults)
    texts: deque[Text] = field(default_factory=lambda: deque(maxlen=_KEPT))
    stopped: set[str] = field(default_factory=set)
    """Who takes no more texts."""
    arrive: bool = True
    """Whether texts arrive by themselves. Otherwise somebody says what becomes of each."""

    def __post_init__(self) -> None:
        self.callbacks = Callbacks(_signed)

    def require(self, authorization: str, account: str) -> None:
        """Raises Refused for credentials that are none, as for those of another account."""
        known = (f"{ACCOUNT_SID}:{AUTH_TOKEN}", f"{KEY_SID}:{KEY_SECRET}")
        accepted = [f"Basic {base64.b64encode(each.encode()).decode()}" for each in known]
        if account != ACCOUNT_SID or not any(hmac.compare_digest(authorization.encode(), e.encode()) for e in accepted):
            raise Refused(20003, 401)

    def send(self, form: Mapping[str, str]) -> Text:
        """Raises Refused."""
        sender = form.get("From") or form.get("MessagingServiceSid") or ""
        self._check(form, sender)
        to = form["To"]
        text = Text(_sid(), to, sender, form["Body"], "queued", self.clock.now(), form.get("StatusCallback"))
        self.texts.append(text)
        self.effects.add(PROVIDER, "delivered", recipients=(to,), data={"message": text.sid, "from": sender})
        log.info("twilio_accepted", message=text.sid)
        if self.arrive:
            self.tell(text, "sent")
            self.tell(text, "delivered")
        return text

    def tell(self, text: Text, status: str, code: int | None = None) -> None:
        """A text gets on, or ends; who sent it hears of it where it asked to."""
        text.status, text.error_code = status, code
        form = {
            "AccountSid": ACCOUNT_SID,
            "ApiVersion": "2010-04-01",
            "From": text.sender,
            "MessageSid": text.sid,
            "MessageStatus": status,
            "SmsSid": text.sid,
            "SmsStatus": status,
            "To": text.to,
        }
        if code is not None:
            form["ErrorCode"] = str(code)
        if text.callback:
            self.callbacks.add((text.callback, form), url=text.callback)

    def answer(self, peer: str, to: str, body: str, media: Sequence[Media] = (), *, base: str = "") -> Text:
        """What somebody writes to one of our numbers, told to where the callbacks go. `base`: where the API is."""
        sid = _sid("MM" if media else "SM")
        text = Text(sid, to, peer, body, "received", self.clock.now(), incoming=True, media=tuple(media))
        self.texts.append(text)
        word = body.strip().upper()
        if word in _STOP:
            self.stopped.add(peer)
        elif word in _START:
            self.stopped.discard(peer)
        form = {
            "AccountSid": ACCOUNT_SID,
            "ApiVersion": "2010-04-01",
            "Body": body,
            "From": peer,
            "MessageSid": text.sid,
            "NumMedia": str(len(media)),
            "NumSegments": "1",
            "SmsMessageSid": text.sid,
            "SmsSid": text.sid,
            "SmsStatus": "received",
            "To": to,
        }
        for index, each in enumerate(media):
            form[f"MediaUrl{index}"] = f"{base}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}/Media/{each.sid}"
            form[f"MediaContentType{index}"] = each.type
        url = self.callbacks.manners.url
        self.callbacks.add((url, form))
        return text

    def find(self, sid: str) -> Text | None:
        return next((each for each in self.texts if each.sid == sid), None)

    def media(self, sid: str) -> Media | None:
        return next((each for text in self.texts for each in text.media if each.sid == sid), None)

    def newest_first(self, phone: str = "") -> Sequence[Text]:
        part = phone.strip()
        return [each for each in reversed(self.texts) if part in (each.sender if each.incoming else each.to)]

    def _check(self, form: Mapping[str, str], sender: str) -> None:
        to, body = form.get("To", ""), form.get("Body", "")
        rules = (
            (not to, 21604),
            (not _NUMBER.fullmatch(to), 21211),
            (not sender, 21603),
            (not body, 21602),
            (len(body) > _MOST_CHARACTERS, 21617),
            (to in self.stopped, 21610),
            (to in _ALWAYS, _ALWAYS.get(to, 0)),
        )
        for broken, code in rules:
            if broken:
                self.effects.add(PROVIDER, "refused", recipients=(to,), data={"code": code})
                raise Refused(code)


def media_of(content: bytes, type_: str) -> Media:
    return Media(_sid("ME"), type_, content)


def _sid(prefix: str = "SM") -> str:
    return prefix + secrets.token_hex(16)


def _signed(items: Sequence[Any]) -> tuple[bytes, Mapping[str, str]]:
    """One form, as Twilio signs it: HMAC-SHA1 over the address and the sorted fields."""
    [(url, form)] = items
    text = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    signature = base64.b64encode(hmac.new(AUTH_TOKEN.encode(), text.encode(), hashlib.sha1).digest()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "X-Twilio-Signature": signature}
    return urlencode(form).encode(), headers
