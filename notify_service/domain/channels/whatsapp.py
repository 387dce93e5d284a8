"""WhatsApp, over the Cloud API of its owner.

Facts from Meta's pages, looked up in November 2026: messages and their limits (of 2026-06-17), throughput and messaging
limits (of 2026-05-21), business-scoped user ids (of 2026-03-31). There is no idempotency key: the delivery's id travels
as `biz_opaque_callback_data` and comes back with every receipt, so a message without an answer is looked for there and
never sent twice.
"""

import re
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from notify_service.domain.channels import (
    Capability,
    ErrorClass,
    Line,
    Media,
    Message,
    Outcome,
    Provider,
    Quota,
    Rate,
    Setup,
    Window,
)
from notify_service.domain.channels.http import Call, Seat
from notify_service.domain.channels.whatsapp_content import BODY_MAX, TEXT_MAX, bodies, check_content
from notify_service.domain.channels.whatsapp_errors import ERRORS, judge

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
_SPACING = str.maketrans("", "", " -.()/\u00a0")

# To one recipient a message in six seconds; up to 45 at once are taken from what comes later. Who is refused all the
# same waits 4^n seconds after the nth time.
_PAIR_SECONDS, _PAIR_BURST = 6.0, 45
_PAIR_BASE, _PAIR_MOST = 4.0, 3600.0
_KEPT_PAIRS = 10_000

_MEGABYTE = 1024 * 1024
MEDIA = {
    "image": Media(5 * _MEGABYTE, ("image/jpeg", "image/png"), caption_max=BODY_MAX),
    "audio": Media(16 * _MEGABYTE, ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")),
    "video": Media(16 * _MEGABYTE, ("video/3gpp", "video/mp4"), caption_max=BODY_MAX),
    "document": Media(100 * _MEGABYTE, caption_max=BODY_MAX),
    "sticker": Media(500 * 1024, ("image/webp",)),
}


def _header_safe(value: SecretStr) -> SecretStr:
    given = value.get_secret_value()
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError("A token is printable ASCII without spaces.")
    return value


Digits = Annotated[str, Field(pattern=r"^[0-9]{1,32}$")]
Token = Annotated[SecretStr, Field(min_length=1, max_length=1000), AfterValidator(_header_safe)]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    phone_number_id: Digits
    """Of the sending number, as the API names it; not the number itself."""
    business_account_id: Digits | None = None
    """Whose templates these are; without it they cannot be listed."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=300)] = (
        "https://graph.facebook.com"
    )
    version: Annotated[str, Field(pattern=r"^v[0-9]{1,3}\.[0-9]$")] = "v25.0"
    portfolio: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The business portfolio, by any name: its numbers share one messaging limit. Without it those of one business
    account do."""
    recipients_per_day: Annotated[int, Field(ge=1, le=2_000_000_000)] | None = 250
    """The portfolio's messaging limit, 250, 2,000, 10,000 or 100,000: people who are written to first, in a sliding
    day. What Meta tells of it goes here. None: unlimited."""
    per_second: Annotated[float, Field(gt=0, le=1000)] = 80
    """The number's throughput, in messages: 80, 20 where it is used with the app as well, 1,000 after an upgrade."""
    token_expires_at: AwareDatetime | None = None
    """When the token ends, where it does: nobody but you can make another one."""
    link_previews: bool = True
    lines: Annotated[int, Field(ge=1, le=200)] = 24
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0

    @property
    def graph_url(self) -> str:
        """Of everything the API names: an object's address is this and its id."""
        return f"{self.base_url.rstrip('/')}/{self.version}"

    @property
    def number_url(self) -> str:
        return f"{self.graph_url}/{self.phone_number_id}"


class Secrets(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: Token
    """Of a system user, with whatsapp_business_messaging and whatsapp_business_management."""
    app_secret: Token | None = None
    """What webhooks are signed with; without it none is believed."""
    verify_token: Token | None = None
    """What is shown when the webhook is set up; without it nobody can."""


def capability(config: Config) -> Capability:
    pool = config.portfolio or config.business_account_id
    quota = Quota(config.recipients_per_day, unit="recipient", pool=pool) if config.recipients_per_day else None
    return Capability(
        channel="whatsapp",
        provider="whatsapp",
        lines=config.lines,
        address="phone",
        text_max=TEXT_MAX,
        markup="html",
        media=MEDIA,
        takes=frozenset({"choices", "reaction", "reply_to"}),
        buttons=3,
        button_title_max=20,
        templates=True,
        window=Window(24, instead="template"),
        rates=(
            Rate("account", config.per_second),
            Rate("recipient", 1, seconds=_PAIR_SECONDS, burst=_PAIR_BURST),
        ),
        quota=quota,
        receipts=frozenset({"delivered", "read"}),
        inbound=frozenset({"webhook"}),
        idempotency="correlate",
        errors=ERRORS,
    )


def check_address(address: str) -> str:
    """A phone number with its country, as +12025550101, or a business-scoped user id, as US.1349."""
    given = address.strip()
    if _USER_ID.fullmatch(given):
        return given
    number = given.translate(_SPACING)
    if not _PHONE.fullmatch(number):
        raise ValueError("A WhatsApp address is a phone number with its country, +12025550101, or a user id, US.1349.")
    return number


class WhatsApp:
    """The channel of one phone number."""

    fills = False

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._config = config
        self._secrets = secrets
        self._pairs = Pairs()
        self.capability = capability(config)

    def render(self, message: Message) -> list[Call]:
        found = bodies(message, own_media=self._config.graph_url, previews=self._config.link_previews)
        return [Call("/messages", body) for body in found]

    def line(self) -> Line:
        return _Seat(self._config, self._secrets, self._pairs)


class Pairs:
    """Recipients whom WhatsApp has refused because they got too much from us of late, and how often in a row."""

    def __init__(self) -> None:
        self._refused: dict[str, int] = {}

    def learn(self, address: str, outcome: Outcome) -> Outcome:
        """With the pause that this recipient needs."""
        if outcome.error is not ErrorClass.RECIPIENT:
            self._refused.pop(address, None)
            return outcome
        if len(self._refused) >= _KEPT_PAIRS:
            del self._refused[next(iter(self._refused))]
        times = self._refused.pop(address, 0) + 1
        self._refused[address] = times
        pause = min(_PAIR_MOST, max(_PAIR_SECONDS, _PAIR_BASE ** min(times, 10)))
        return replace(outcome, pause_seconds=pause)


class _Seat(Seat):
    def __init__(self, config: Config, secrets: Secrets, pairs: Pairs) -> None:
        named = {**headers(secrets), "Content-Type": "application/json"}
        super().__init__(judge, base_url=config.number_url, headers=named, timeout=config.timeout)
        self._pairs = pairs

    async def send(self, address: str, payload: list[Call]) -> Outcome:  # type: ignore[override]
        return self._pairs.learn(address, await super().send(address, payload))


def headers(secrets: Secrets) -> dict[str, str]:
    return {"Authorization": f"Bearer {secrets.token.get_secret_value()}"}


def _open(setup: Setup) -> WhatsApp:
    return WhatsApp(setup.config, setup.secrets)


PROVIDER = Provider(
    capability=capability(Config(phone_number_id="0")),
    config=Config,
    secrets=Secrets,
    able=capability,
    open=_open,
    check_address=check_address,
    check_content=check_content,
)
