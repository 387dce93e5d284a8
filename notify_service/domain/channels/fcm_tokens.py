"""Google's access tokens for a service account: one request for all lines, and none while the last token is good.

From developers.google.com/identity/protocols/oauth2/service-account and RFC 7523, as of November 2026.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from notify_service.domain.channels import BLAMES_ACCOUNT, CannotOpen, ErrorClass, Outcome
from notify_service.domain.channels.http import Answer, Call, Seat, by_status

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS = 3600
# A token that ends sooner may end on its way.
_MARGIN_SECONDS = 60.0
_MOST_TOKEN_CHARS = 8192
_ERRORS = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "access_denied"})


class ServiceAccount(BaseModel):
    """What of the file is needed; there is more in it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    project_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,40}$")]
    client_email: Annotated[str, Field(max_length=320)]
    private_key_id: Annotated[str, Field(max_length=100)] = ""
    private_key: SecretStr
    token_uri: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=300)]

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError for what is no service account with an RSA key."""
        try:
            found = cls.model_validate_json(text)
            found.key()
        except (ValidationError, ValueError, TypeError):
            raise ValueError("A service account is the JSON file that Google gives for it.") from None
        return found

    def key(self) -> RSAPrivateKey:
        key = load_pem_private_key(self.private_key.get_secret_value().encode(), None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError("no RSA key")
        return key


class Tokens:
    """The access token of one project."""

    def __init__(self, account: ServiceAccount, *, timeout: float, seconds: Callable[[], float] = time.time) -> None:
        self._account = account
        self._key = account.key()
        self._timeout = timeout
        self._seconds = seconds
        self._asking = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def current(self) -> str:
        """A token that is good for another minute. Raises CannotOpen."""
        if self._seconds() < self._until:
            return self._token
        async with self._asking:
            # Somebody else may have asked meanwhile.
            if self._seconds() >= self._until:
                await self._ask()
        return self._token

    def forget(self, token: str) -> None:
        """It was refused, whatever it was good for."""
        if token == self._token:
            self._until = 0.0

    async def _ask(self) -> None:
        form = urlencode({"grant_type": _GRANT, "assertion": self._assertion(int(self._seconds()))})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        seat = Seat(self._take, headers=headers, timeout=self._timeout)
        try:
            outcome = await seat.ask(Call(self._account.token_uri, form.encode()))
        finally:
            await seat.close()
        if outcome.error is not None and outcome.error not in BLAMES_ACCOUNT:
            # Whatever became of the question: no message was offered.
            outcome = Outcome(ErrorClass.UNREACHABLE, outcome.code)
        if outcome.error is not None:
            raise CannotOpen(outcome)

    def _take(self, answer: Answer) -> Outcome:
        outcome = by_status(answer)
        found = _object(answer.content)
        if outcome.error is None:
            token, left = found.get("access_token"), found.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable() and isinstance(left, int)):
                return Outcome(ErrorClass.UNREACHABLE, "no_token")
            if not 0 < len(token) <= _MOST_TOKEN_CHARS:
                return Outcome(ErrorClass.UNREACHABLE, "no_token")
            self._token, self._until = token, self._seconds() + left - _MARGIN_SECONDS
            return outcome
        if outcome.error is ErrorClass.PERMANENT:
            # The account is what is refused; no message is to blame.
            error = found.get("error")
            return Outcome(ErrorClass.AUTH, error if error in _ERRORS else outcome.code)
        return outcome

    def _assertion(self, now: int) -> str:
        account = self._account
        head = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
        claims = {
            "iss": account.client_email,
            "scope": _SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        return (signed + b"." + _encoded(self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
