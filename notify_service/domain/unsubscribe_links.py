"""Addresses of pages that know their reader without a sign-in: `/u/<token>`, in mails and texts.

A token holds all that there is to know, sealed, so that it works however long its delivery is forgotten, and no row is
kept for it. AES-SIV needs no nonce, which a text would have to carry as well, and refuses what was changed. The keys
are made from those of encrypted fields, and change with them.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from libs.crypto import field_keys
from libs.errors import FieldError, NotFound
from notify_service.domain.content import UNSUBSCRIBE_URL, Content
from notify_service.domain.preferences import CRITICAL

VALID = timedelta(days=366)
# Of AES-256-SIV.
_KEY_BYTES = 64
_USE = b"parley unsubscribe links 1"
_USER, _ADDRESS = b"u", b"a"
_UUID_BYTES = 16
_EPOCH = date(2020, 1, 1)
# Longer addresses are subscriptions of browsers, which can be ended in the browser.
_MOST_ADDRESS_BYTES = 640
_TOKEN = re.compile(r"[A-Za-z0-9_-]{30,1000}")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who gets messages of a category over a channel: a user of ours by their id, or an address. `address`: of a user,
    where the message came to, if that fits into a link."""

    channel: str
    category: str
    who: UUID | str
    address: str | None = None


class UnsubscribeLinks:
    """`keys` as `libs.crypto.field_keys` takes them. `base`: where the internet reaches us."""

    def __init__(self, keys: str, base: str | None) -> None:
        self._base = base.rstrip("/") if base else None
        self._keys = [AESSIV(HKDF(SHA256(), _KEY_BYTES, None, _USE).derive(key)) for key in field_keys(keys).values()]

    def problems(self, category: str, contents: Iterable[tuple[str, Content]]) -> list[FieldError]:
        """Why these contents, given with their paths, cannot show the way out that they promise: nobody can end what is
        always sent, nor anything where nobody reaches us."""
        if category in CRITICAL:
            refusal = f"This category is always sent, so it has no {{{{{UNSUBSCRIBE_URL}}}}}."
        elif self._base is None:
            refusal = f"There is no {{{{{UNSUBSCRIBE_URL}}}}} without the setting PARLEY_PUBLIC_URL."
        else:
            return []
        return [FieldError(path, refusal) for path, content in contents if content.unsubscribes]

    def to(self, reader: Reader, now: datetime) -> str | None:
        """None where there can be none: for what nobody can switch off, without `base`, and for a very long address."""
        kind, who = _told(reader)
        if self._base is None or reader.category in CRITICAL or len(who) > _MOST_ADDRESS_BYTES:
            return None
        day = (now.date() - _EPOCH).days.to_bytes(2, "big")
        said = kind + day + b"\0".join((reader.channel.encode(), reader.category.encode(), who))
        token = urlsafe_b64encode(self._keys[0].encrypt(said, None)).rstrip(b"=").decode()
        return f"{self._base}/u/{token}"

    def read(self, token: str, now: datetime) -> Reader:
        """Raises NotFound for what is forged, changed, cut or too old."""
        said = self._opened(token)
        if now.date() - (_EPOCH + timedelta(days=int.from_bytes(said[1:3], "big"))) > VALID:
            raise NotFound
        channel, category, who = said[3:].split(b"\0", 2)
        if said[:1] == _ADDRESS:
            return Reader(channel.decode(), category.decode(), who.decode())
        user, address = who[:_UUID_BYTES], who[_UUID_BYTES:].decode()
        return Reader(channel.decode(), category.decode(), UUID(bytes=user), address or None)

    def _opened(self, token: str) -> bytes:
        if _TOKEN.fullmatch(token) is None or len(token) % 4 == 1:
            raise NotFound
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        for key in self._keys:
            try:
                return key.decrypt(sealed, None)
            except InvalidTag:
                continue
        raise NotFound


def _told(reader: Reader) -> tuple[bytes, bytes]:
    """What a token says of a reader."""
    if not isinstance(reader.who, UUID):
        return _ADDRESS, reader.who.encode()
    address = (reader.address or "").encode()
    fits = _UUID_BYTES + len(address) <= _MOST_ADDRESS_BYTES
    return _USER, reader.who.bytes + (address if fits else b"")
