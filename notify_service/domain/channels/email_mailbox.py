"""The mailbox that mails come back to: read over IMAP, from where the last look has ended, and never changed."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b

import structlog

from notify_service.domain.bounce_reports import parse
from notify_service.domain.channels import CannotOpen, ErrorClass, Outcome, Setup
from notify_service.domain.channels.email_account import (
    Config,
    Mailbox,
    Secrets,
    account_of,
    context_of,
    mailbox_tokens,
    said,
)
from notify_service.domain.channels.email_imap import Imap, Lost, No
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.inbound import Event, Source

# A report begins with what it says; what follows may be all of the mail that came back.
_MOST_BYTES = 256 * 1024
_MOST_MAILS = 50

log = structlog.get_logger()


class Returned:
    """Of one account. Its cursor is `<mailbox>:<UIDVALIDITY>:<UID>`: of another mailbox, and after numbers have got
    another meaning, all is read again, and what was told before has no second effect."""

    def __init__(self, setup: Setup, mailbox: Mailbox) -> None:
        config: Config = setup.config
        secrets: Secrets = setup.secrets
        self.rest_seconds = mailbox.seconds
        self._name = setup.name
        self._mailbox = mailbox
        self._user = mailbox.user or config.user or ""
        self._password = said(secrets.mailbox_password) or ""
        self._tokens = mailbox_tokens(setup)
        self._path = account_of(setup).return_path
        self._context = None if mailbox.security == "none" else context_of(cadata=config.certificates)
        self._timeout = config.timeout
        place = f"{mailbox.host}:{mailbox.port}:{self._user}:{mailbox.folder}"
        self._place = blake2b(place.encode(), digest_size=8).hexdigest()

    async def fetch(self, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """Some of the mails behind the cursor. Raises Refused."""
        try:
            async with self._connected() as imap:
                return await self._read(imap, cursor)
        except No:
            raise Refused(Outcome(ErrorClass.AUTH, "no_folder")) from None
        except Lost:
            raise Refused(Outcome(ErrorClass.UNREACHABLE, "no_connection")) from None
        except ssl.SSLError:
            raise Refused(Outcome(ErrorClass.UNREACHABLE, "tls_failed")) from None
        except CannotOpen as error:
            raise Refused(error.outcome) from None

    async def _read(self, imap: Imap, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        known = f"{self._place}:{await imap.examine(self._mailbox.folder)}"
        place, _, last = (cursor or "").rpartition(":")
        numbers = await imap.after(int(last) if place == known else 0)
        numbers = numbers[:_MOST_MAILS]
        events: list[Event] = []
        unread = 0
        for number in numbers:
            try:
                raw = await imap.fetch(number, _MOST_BYTES)
            except No:
                log.warning("returned_mail_not_read", account=self._name, number=number)
                unread += 1
                continue
            events += self._said(raw, number) if raw else []
        if numbers and unread == len(numbers):
            # It is the server that is ill, and none of the mails.
            raise Refused(Outcome(ErrorClass.TRANSIENT, "unreadable"))
        if numbers or place != known:
            return events, f"{known}:{numbers[-1] if numbers else 0}"
        return events, cursor

    def _said(self, raw: bytes, number: int) -> Sequence[Event]:
        try:
            return parse(raw, path=self._path)
        except ValueError:
            log.warning("returned_mail_not_understood", account=self._name, number=number)
        except Exception:
            # Whoever finds a mail that our reader stumbles over must not be able to keep all others from being read.
            log.exception("returned_mail_not_understood", account=self._name, number=number)
        return []

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Imap]:
        at = self._mailbox.host, self._mailbox.port
        later = self._mailbox.security == "starttls"
        imap = await Imap.connect(*at, context=self._context, timeout=self._timeout, starttls=later)
        try:
            await self._sign_in(imap)
            yield imap
            await imap.leave()
        finally:
            imap.abort()

    async def _sign_in(self, imap: Imap) -> None:
        try:
            if self._tokens is None:
                await imap.login(self._user, self._password)
                return
            token = await self._tokens.current()
            try:
                await imap.sign_in_with_token(self._user, token)
            except No:
                # It may have been taken back before its time: the next look fetches another.
                self._tokens.refused(token)
                raise
        except No:
            raise Refused(Outcome(ErrorClass.AUTH, "login_refused")) from None


def opened(setup: Setup) -> Source | None:
    """Raises ValueError for secrets that do not belong to the configuration."""
    config: Config = setup.config
    return Returned(setup, config.mailbox) if config.mailbox else None
