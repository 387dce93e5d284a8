"""Access tokens as auth would sign them, for tests of the services behind."""

import time
from collections.abc import Mapping
from uuid import UUID, uuid4

from libs.keys import KeyRing
from libs.tokens import AUDIENCE, ISSUER, Issuer


def access_claims(user_id: UUID | str, **changed: object) -> dict[str, object]:
    """Complete claims; `changed` replaces some, and a value of None removes one."""
    now = int(time.time())
    user = str(user_id)
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "user_id": user,
        "userId": user,
        "email": None,
        "type": "access",
        "sid": str(uuid4()),
        "jti": str(uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "iat_ms": int(time.time() * 1000),
        "ver": 1,
        "roles": ["user"],
        "amr": ["pwd"],
        "aal": 1,
    }
    removed = {name for name, value in changed.items() if value is None}
    return {name: value for name, value in {**claims, **changed}.items() if name not in removed}


def access_token(ring: KeyRing, claims: Mapping[str, object]) -> str:
    return Issuer(ring).sign(claims)
