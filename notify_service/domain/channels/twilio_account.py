"""What an account at Twilio is set up with."""

import base64
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, model_validator

from notify_service.domain.channels.phones import MOST_SEGMENTS

CORRELATION = "delivery"
"""The name of our id in the address of receipts."""
_SID = r"[0-9a-fA-F]{32}"


class Config(BaseModel):
    """The sender is a number, a short code or a name; or a messaging service, which has a pool of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_sid: Annotated[str, Field(pattern=f"^AC{_SID}$")]
    key_sid: Annotated[str, Field(pattern=f"^SK{_SID}$")] | None = None
    """An API key to send with, in place of the account's own token."""
    sender: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9 &_-]{1,11})$")] | None = None
    messaging_service_sid: Annotated[str, Field(pattern=f"^MG{_SID}$")] | None = None
    status_callback: HttpUrl | None = None
    """Where receipts come to: this account's address below `/hooks/`, as the internet sees it."""
    validity_seconds: Annotated[int, Field(ge=1, le=36_000)] | None = None
    """What has not left Twilio's queue by then never does."""
    most_segments: Annotated[int, Field(ge=1, le=MOST_SEGMENTS)] = MOST_SEGMENTS
    """Longer texts are refused: each segment is paid for."""
    base_url: HttpUrl = HttpUrl("https://api.twilio.com")
    lines: Annotated[int, Field(ge=1, le=100)] = 4
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Seconds until an answer."""

    @model_validator(mode="after")
    def _one_sender(self) -> Self:
        if (self.sender is None) == (self.messaging_service_sid is None):
            raise ValueError("Give either a sender or a messaging_service_sid.")
        return self


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    auth_token: Annotated[SecretStr, Field(min_length=1, max_length=200)]
    """Also what Twilio signs its calls with."""
    key_secret: Annotated[SecretStr, Field(min_length=1, max_length=200)] | None = None


def authorization(config: Config, secrets: Secrets) -> str:
    """The header of every call."""
    user, password = config.account_sid, secrets.auth_token
    if config.key_sid is not None and secrets.key_secret is not None:
        user, password = config.key_sid, secrets.key_secret
    return "Basic " + base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()
