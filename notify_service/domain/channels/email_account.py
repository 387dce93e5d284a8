"""How mail accounts are set up: field by field, by what is known of a provider, or by one address as in settings."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from notify_service.domain.bounces import ReturnPath
from notify_service.domain.channels import CannotRender, Quota, Rate, Setup
from notify_service.domain.channels.email_oauth import Grant, Tokens
from notify_service.domain.dkim import Signer
from notify_service.domain.letters import Sender, deliverable

_HERE = ("127.0.0.1", "::1", "localhost")
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$|^[0-9a-fA-F:]+$"
_NAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"


@dataclass(frozen=True, slots=True)
class Preset:
    """What is the same for everybody at a provider. `defaults` are fields of `Config`."""

    defaults: Mapping[str, Any]
    rates: tuple[Rate, ...] = ()
    quota: Quota | None = None


PRESETS: Mapping[str, Preset] = {
    # Workspace: 2,000 messages per user in any 24 hours (support.google.com/a/answer/166852, November 2026). How many
    # connections it takes is not published.
    "gmail": Preset(
        {
            "host": "smtp.gmail.com",
            "connections": 2,
            "oauth": {"token_url": "https://oauth2.googleapis.com/token"},
            "mailbox": {"host": "imap.gmail.com"},
        },
        quota=Quota(limit=2000, hours=24),
    ),
    # Exchange Online: three connections and 30 messages a minute per mailbox, 10,000 recipients a day
    # (learn.microsoft.com, `smtp-submission-improvements` and `exchange-online-limits`, November 2026).
    "office365": Preset(
        {
            "host": "smtp.office365.com",
            "connections": 3,
            "oauth": {
                "token_url": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
                "scope": "https://outlook.office.com/SMTP.Send offline_access",
            },
            "mailbox": {
                "host": "outlook.office365.com",
                "scope": "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
            },
        },
        rates=(Rate("account", limit=30, seconds=60),),
        quota=Quota(limit=10_000, hours=24),
    ),
}


# postmarkapp.com/support, `custom-metadata-faq`, November 2026. The others tell the Message-ID.
MARKS = {"postmark": "X-PM-Metadata-delivery"}


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OAuth(Part):
    token_url: Annotated[str, Field(pattern=r"^https?://[^\s#]{1,500}$")]
    client_id: Annotated[str, Field(min_length=1, max_length=300)]
    scope: Annotated[str, Field(max_length=500)] | None = None


class Dkim(Part):
    domain: Annotated[str, Field(pattern=_NAME)]
    selector: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]


class Hooks(Part):
    """Who tells what became of mails, by calling us."""

    service: Literal["ses", "sendgrid", "mailgun", "postmark"]
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]{1,300}$")] | None = None
    """Where the certificates and confirmations of `ses` are; without it at Amazon and nowhere else."""


class Mailbox(Part):
    """Where mails come back to, read over IMAP."""

    host: Annotated[str, Field(pattern=_HOST)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 993
    security: Literal["tls", "starttls", "none"] = "tls"
    """`starttls` is for servers at port 143."""
    user: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,320}$")] | None = None
    """None: the user who sends."""
    folder: Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,200}$")] = "INBOX"
    scope: Annotated[str, Field(max_length=500)] | None = None
    """Of the token to read with; the rest of `oauth` is the same."""
    seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """Between two looks that find nothing."""


class Config(Part):
    preset: Literal["gmail", "office365"] | None = None
    """Gives what is not given here, and the provider's limits."""
    host: Annotated[str, Field(pattern=_HOST)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Annotated[str, Field(min_length=1, max_length=320)] | None = None
    sender: Annotated[str, Field(max_length=400)]
    """`Name <address>`, or an address alone."""
    reply_to: Annotated[str, Field(max_length=320)] | None = None
    unsubscribe: Annotated[str, Field(max_length=320)] | None = None
    """A mailbox for those who want no more, beside the page of one click."""
    return_path: Annotated[str, Field(pattern=_NAME)] | None = None
    """The domain whose mailboxes all take bounces."""
    hooks: Hooks | None = None
    mailbox: Mailbox | None = None
    oauth: OAuth | None = None
    dkim: Dkim | None = None
    certificates: Annotated[str, Field(max_length=100_000)] | None = None
    """PEM: trusted besides those of the system."""
    connections: Annotated[int, Field(ge=1, le=100)] = 4
    messages_per_connection: Annotated[int, Field(ge=1, le=100_000)] = 100
    timeout: Annotated[float, Field(gt=0, le=600)] = 60.0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        preset = PRESETS.get(given.get("preset") or "") if isinstance(given, dict) else None
        if preset is None:
            return given
        completed = {**preset.defaults, **given}
        for name in ("oauth", "mailbox"):
            part = given.get(name)
            completed[name] = {**preset.defaults[name], **part} if isinstance(part, dict) else part
        return completed

    @field_validator("sender")
    @classmethod
    def _require_sender(cls, value: str) -> str:
        _sender(value)
        return value

    @field_validator("reply_to", "unsubscribe")
    @classmethod
    def _require_address(cls, value: str | None) -> str | None:
        return value and checked(value)

    @model_validator(mode="after")
    def _no_secret_in_the_clear(self) -> Self:
        if self.user and self.security == "none" and self.host not in _HERE:
            raise ValueError("Without encryption nobody signs in: choose starttls or tls.")
        if self.oauth and not self.user:
            raise ValueError("Signing in with a token needs a user.")
        if self.mailbox and self.mailbox.security == "none" and self.mailbox.host not in _HERE:
            raise ValueError("Nobody reads a mailbox elsewhere without encryption: choose tls.")
        if self.mailbox and not (self.mailbox.user or self.user):
            raise ValueError("A mailbox needs a user.")
        return self


class Secrets(Part):
    password: SecretStr | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    """Without one, and with a client secret, the account signs in as an application."""
    dkim_key: SecretStr | None = None
    """PEM: RSA or Ed25519."""
    return_path_key: SecretStr | None = None
    """At least 16 characters; makes addresses for bounces that nobody else can."""
    hook_key: SecretStr | None = None
    """What the service of `hooks` signs with, or shows: SendGrid's public key, Mailgun's signing key, the
    `user:password` in Postmark's address, and of SES the ARN of the topic."""
    mailbox_password: SecretStr | None = None
    mailbox_refresh_token: SecretStr | None = None
    """Without one, and with a client secret, the application reads the mailbox for itself."""


@dataclass(frozen=True)
class Account:
    """Where mails are handed over, and as whom."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    tls: bool
    starttls: bool
    context: ssl.SSLContext | None
    sender: Sender
    connections: int = 4
    messages_per_connection: int = 100
    timeout: float = 60.0
    tokens: Tokens | None = field(default=None, repr=False)
    signer: Signer | None = field(default=None, repr=False)
    return_path: ReturnPath | None = field(default=None, repr=False)
    preset: Preset = field(default=Preset({}))
    mark: str | None = None
    """A header of the service that carries the mails: what is in it comes back with all that it tells."""


def account(url: str, *, mail_from: str, ca_file: Path | None = None, **limits: float) -> Account:
    """Reads `smtp://user:password@host:port?starttls=required|off&certificate=/path.pem` or `smtps://...`.

    Raises ValueError for a URL that says something else, and for a password that would travel in the clear.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    starttls = options.pop("starttls", "required")
    certificate = options.pop("certificate", None) or ca_file
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or options or starttls not in ("required", "off"):
        raise ValueError("A mail server is smtp://user:password@host:port?starttls=required|off&certificate=/path.pem.")
    tls = parts.scheme == "smtps"
    encrypted = tls or starttls == "required"
    if parts.username and not encrypted and parts.hostname not in _HERE:
        raise ValueError("starttls=off would send the mail server's password in the clear.")
    return Account(
        host=parts.hostname,
        port=parts.port or (465 if tls else 587),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
        tls=tls,
        starttls=not tls and starttls == "required",
        context=context_of(cafile=certificate) if encrypted else None,
        sender=_sender(mail_from),
        connections=int(limits["connections"]),
        messages_per_connection=int(limits["messages_per_connection"]),
        timeout=limits["timeout"],
    )


def account_of(setup: Setup) -> Account:
    """Raises ValueError for secrets that do not belong to the configuration."""
    config: Config = setup.config
    secrets: Secrets = setup.secrets
    if config.user and config.oauth is None and secrets.password is None:
        raise ValueError("A user needs a password, or oauth.")
    _check_hearing(config, secrets)
    return Account(
        host=config.host,
        port=config.port,
        user=config.user,
        password=said(secrets.password),
        tls=config.security == "tls",
        starttls=config.security == "starttls",
        context=context_of(cadata=config.certificates) if config.security != "none" else None,
        sender=_sender(config.sender, reply_to=config.reply_to, unsubscribe=config.unsubscribe),
        connections=config.connections,
        messages_per_connection=config.messages_per_connection,
        timeout=config.timeout,
        tokens=_tokens(setup, config.oauth, secrets) if config.oauth else None,
        signer=_signer(config.dkim, secrets) if config.dkim else None,
        return_path=_return_path(config.return_path, secrets) if config.return_path else None,
        preset=PRESETS.get(config.preset or "", Preset({})),
        mark=MARKS.get(config.hooks.service) if config.hooks else None,
    )


def checked(address: str) -> str:
    """The address in its one form: ASCII, its domain in small letters. Raises ValueError."""
    try:
        local, _, domain = deliverable(address.strip()).rpartition("@")
    except CannotRender:
        raise ValueError("An address is name@domain; before the @ stand letters without accents.") from None
    return f"{local}@{domain.lower()}"


def mailbox_tokens(setup: Setup) -> Tokens | None:
    """To read the mailbox with; None: with a password. A permission of its own: where each use of a refresh token ends
    it, who sends and who reads cannot share one."""
    config: Config = setup.config
    secrets: Secrets = setup.secrets
    if config.mailbox is None or config.oauth is None or secrets.mailbox_password is not None:
        return None

    async def rotated(refresh_token: str) -> None:
        await setup.keep(secrets.model_copy(update={"mailbox_refresh_token": SecretStr(refresh_token)}))

    grant = Grant(
        token_url=config.oauth.token_url,
        client_id=config.oauth.client_id,
        client_secret=said(secrets.client_secret),
        refresh_token=said(secrets.mailbox_refresh_token),
        scope=config.mailbox.scope,
    )
    return Tokens(grant, rotated, timeout=config.timeout)


def _check_hearing(config: Config, secrets: Secrets) -> None:
    """Raises ValueError for what would never be heard."""
    if config.hooks and not said(secrets.hook_key):
        raise ValueError("hooks need a hook_key.")
    if config.mailbox is None:
        return
    password = said(secrets.mailbox_password)
    if password is None and (config.oauth is None or not (secrets.mailbox_refresh_token or secrets.client_secret)):
        raise ValueError("A mailbox needs a mailbox_password, or oauth with a mailbox_refresh_token or client_secret.")
    if password is not None and not (password.isascii() and password.isprintable()):
        raise ValueError("A mailbox_password has no accents: IMAP has no way to say them.")


def _tokens(setup: Setup, oauth: OAuth, secrets: Secrets) -> Tokens:
    if secrets.refresh_token is None and secrets.client_secret is None:
        raise ValueError("Tokens need a refresh_token, or a client_secret.")

    async def rotated(refresh_token: str) -> None:
        await setup.keep(secrets.model_copy(update={"refresh_token": SecretStr(refresh_token)}))

    grant = Grant(
        token_url=oauth.token_url,
        client_id=oauth.client_id,
        client_secret=said(secrets.client_secret),
        refresh_token=said(secrets.refresh_token),
        scope=oauth.scope,
    )
    return Tokens(grant, rotated, timeout=setup.config.timeout)


def _signer(dkim: Dkim, secrets: Secrets) -> Signer:
    key = said(secrets.dkim_key)
    if key is None:
        raise ValueError("dkim needs a dkim_key.")
    return Signer(dkim.domain, dkim.selector, key)


def _return_path(domain: str, secrets: Secrets) -> ReturnPath:
    key = said(secrets.return_path_key)
    if key is None:
        raise ValueError("return_path needs a return_path_key.")
    return ReturnPath(domain, key.encode())


def said(secret: SecretStr | None) -> str | None:
    """What it is, if there is one."""
    return secret.get_secret_value() if secret else None


def _sender(text: str, **more: str | None) -> Sender:
    name, address = parseaddr(text)
    try:
        if not address.isascii() or deliverable(address) != address:
            raise ValueError("The sender of mails is `Name <address>` or an address.")
    except CannotRender:
        raise ValueError("The sender of mails is `Name <address>` or an address.") from None
    return Sender(name, address, **more)


def context_of(*, cafile: str | Path | None = None, cadata: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cafile or cadata:
        context.load_verify_locations(cafile=cafile, cadata=cadata)
    return context
