"""Where mail accounts get their access tokens: an authorization server for one application and one mailbox."""

import hmac
import secrets
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from libs.clock import Clock

CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN = "parley-mail", "mail-secret", "first-refresh-token"
XOAUTH2_REFUSED = '{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}'


class Habits(BaseModel):
    """How it behaves. Google keeps refresh tokens, Microsoft gives a new one each time."""

    model_config = ConfigDict(extra="forbid")

    rotate: bool = Field(default=False, description="A new refresh token with each access token; the old one ends.")
    withdrawn: bool = Field(default=False, description="The owner has taken the permission back: `invalid_grant`.")
    lifetime: int = Field(3600, ge=0, le=86_400, description="Seconds that an access token is good for.")
    down: bool = Field(default=False, description="503 to everything.")


class Tokens:
    def __init__(self, user: str, clock: Clock) -> None:
        self.habits = Habits()
        self.asked = 0
        self.refresh_token = REFRESH_TOKEN
        self._user = user
        self._clock = clock
        self._valid: dict[str, float] = {}

    def reset(self) -> None:
        self.habits, self.asked, self.refresh_token = Habits(), 0, REFRESH_TOKEN
        self._valid.clear()

    def end_all(self) -> None:
        """No access token is good any more, whatever it was told to last."""
        self._valid.clear()

    def issue(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """A status and what is said (RFC 6749, 5)."""
        self.asked += 1
        if self.habits.down:
            return 503, {}
        if not self._knows(form):
            return 401, {"error": "invalid_client"}
        grant = form.get("grant_type")
        if grant not in {"refresh_token", "client_credentials"}:
            return 400, {"error": "unsupported_grant_type"}
        ours = grant == "client_credentials" or _equal(form.get("refresh_token", ""), self.refresh_token)
        if self.habits.withdrawn or not ours:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        return 200, self._answer(rotate=self.habits.rotate and grant == "refresh_token")

    def knows(self, user: str, token: str) -> bool:
        until = self._valid.get(token)
        return user == self._user and until is not None and self._clock.seconds() < until

    def _knows(self, form: Mapping[str, str]) -> bool:
        return form.get("client_id") == CLIENT_ID and _equal(form.get("client_secret", ""), CLIENT_SECRET)

    def _answer(self, *, rotate: bool) -> dict[str, Any]:
        token = secrets.token_urlsafe(24)
        self._valid[token] = self._clock.seconds() + self.habits.lifetime
        answer: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.habits.lifetime,
        }
        if rotate:
            self.refresh_token = secrets.token_urlsafe(24)
            answer["refresh_token"] = self.refresh_token
        return answer


def _equal(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())


def credentials(proof: str) -> tuple[str, str]:
    """User and token of `user=...^Aauth=Bearer ...^A^A`."""
    try:
        said = b64decode(proof, validate=True).decode()
    except ValueError:
        return "", ""
    fields = dict(part.split("=", 1) for part in said.split("\x01") if "=" in part)
    return fields.get("user", ""), fields.get("auth", "").removeprefix("Bearer ")
