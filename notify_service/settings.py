from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, field_validator

from libs.settings import ServiceSettings, ServiceUrl, config


class Settings(ServiceSettings):
    model_config = config("NOTIFY_")

    port: int = Field(8003, description="Port to listen on.")
    chat_url: ServiceUrl = Field(
        "http://127.0.0.1:8002",
        validation_alias="PARLEY_CHAT_URL",
        description="Address of chat for internal calls.",
    )

    smtp_url: SecretStr = Field(
        SecretStr("smtp://parley:parley@127.0.0.1:1025?starttls=required"),
        description="The mail server: `smtp://user:password@host:587?starttls=required`, or `smtps://` for TLS from "
        "the first byte. `starttls=off` sends in the clear; it is refused together with a password, except to this "
        "machine. `certificate=/path.pem` trusts that certificate besides those of the system.",
    )
    smtp_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that the mail server may have besides those that the system trusts."
    )
    smtp_connections: int = Field(4, ge=1, le=100, description="Connections to the mail server at a time.")
    smtp_messages_per_connection: int = Field(
        100, ge=1, description="After that many messages a connection is closed and another one opened."
    )
    smtp_timeout_seconds: float = Field(60, gt=0, description="Longest wait for one answer of the mail server.")
    mail_from: str = Field(
        "Parley <parley@localhost>", description="Sender of all mails, as `Name <address>` or an address alone."
    )
    link_base: str | None = Field(
        None,
        description="Where your client's account pages are, as `https://app.example.com/account`. Mails link to"
        " `verify-email`, `reset-password`, `confirm-email`, `undo-email` and `undo-phone` below it, each with"
        " `#token=...`. Without it mails show the code itself.",
    )

    sms_url: str | None = Field(
        None,
        description="Where the provider of text messages takes them: `{id, to, from, text}` by POST, with a bearer"
        " token. Use `https`. Without it texts fail with the reason `no_channel`.",
    )
    sms_token: SecretStr | None = Field(None, description="Bearer token of the provider of text messages.")
    sms_from: str = Field("Parley", min_length=1, max_length=32, description="Sender that text messages show.")
    sms_connections: int = Field(4, ge=1, le=100, description="Connections to the provider of texts at a time.")
    sms_timeout_seconds: float = Field(15, gt=0, description="Longest wait for that provider's answer.")

    private_networks: bool = Field(
        default=False,
        description="Whether push services and programs of customers may be at private addresses and speak plain HTTP, "
        "as in development.",
    )

    retry_base_seconds: float = Field(
        60, gt=0, description="The n-th retry of a mail waits a random time below base * 2^(n-1)."
    )
    retry_cap_seconds: float = Field(4 * 3600, gt=0, description="Longest wait before a retry.")
    max_attempts: int = Field(8, ge=1, le=100, description="After that many attempts a delivery is given up: `dead`.")
    breaker_seconds: float = Field(
        30,
        gt=0,
        description="After five failures to reach the mail server in a row nothing is tried for so long; the time "
        "doubles up to twentyfold while it stays unreachable.",
    )
    lease_seconds: float = Field(
        10, ge=1, le=15, description="How long after the death of a worker another one takes over its deliveries."
    )

    delivery_keep_days: int = Field(
        90,
        ge=0,
        le=10_000,
        description="How many days after its end a delivery is kept, with its attempts and what was to be sent. 0 keeps"
        " all. What still waits stays, however old.",
    )
    inbound_keep_days: int = Field(
        90,
        ge=0,
        le=10_000,
        description="How many days what people wrote to accounts is kept, with the files that they sent. 0 keeps all.",
    )
    media_max_bytes: int = Field(
        25 * 1024 * 1024,
        ge=1,
        le=100 * 1024 * 1024,
        description="The largest file of somebody who writes to an account that is fetched from its provider.",
    )

    mails_a_day: int = Field(
        100, ge=0, description="Mails that one user may send to others, in a sliding day, over `/api/communications`."
    )
    whatsapps_a_day: int = Field(50, ge=0, description="WhatsApp messages, likewise.")
    whatsapp_template: str = Field(
        "hello_world/en_US",
        pattern=r"^[a-z0-9_]{1,512}/[a-z]{2,3}(_[A-Z]{2})?$",
        description="The template, as `name/language`, that such a message takes which asks for a template.",
    )
    senders: frozenset[UUID] = Field(
        frozenset(),
        description="Users (ids, as a JSON list) that may send to anybody over `/api/v1/deliveries`, as administrators"
        " may; their API tokens then need no more than `notify:write`.",
    )

    @field_validator("sms_url")
    @classmethod
    def _require_address(cls, value: str | None) -> str | None:
        if value and (urlsplit(value).scheme not in ("https", "http") or not urlsplit(value).hostname):
            raise ValueError("Give an address as https://sms.example.com/messages.")
        return value or None

    @field_validator("link_base")
    @classmethod
    def _require_plain_address(cls, value: str | None) -> str | None:
        """Something that a page and a fragment can be appended to."""
        if not value:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or "@" in value:
            raise ValueError("Give an address as https://app.example.com/account, without a query and a fragment.")
        return value.rstrip("/")
