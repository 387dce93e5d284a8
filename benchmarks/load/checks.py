"""What checking an access token costs a service, in the process itself: remembered, new, and bare joserfc."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast
from uuid import uuid4

from joserfc import jws, jwt
from redis.asyncio import Redis

from libs.clock import Clock
from libs.keys import USER, KeyRing
from libs.revocation import Active, Revocations
from libs.testing.tokens import access_claims, access_token
from libs.tokens import Verifier

TOKENS = 2000
TIMES = 200_000


def micros(work: Callable[[], object], times: int) -> float:
    """CPU microseconds a call, the best of five: whatever else runs can only add."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def measured(algorithm: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        ring = KeyRing.create(Path(folder) / "ring.json", algorithm)  # type: ignore[arg-type]
        tokens = [access_token(ring, access_claims(str(uuid4()))) for _ in range(TOKENS)]
        return {**first_checks(ring, tokens), **further_checks(ring, tokens[0])}


def first_checks(ring: KeyRing, tokens: list[str]) -> dict[str, float]:
    key = ring.signing_key(USER)
    registry = jws.JWSRegistry(algorithms=[key.alg])
    # The claims that the wrapper requires too; joserfc alone does not look at times.
    claims = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": "parley"},
        aud={"essential": True, "value": "parley"},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nbf={"essential": True},
    )

    def bare() -> None:
        for token in tokens:
            claims.validate(jwt.decode(token, key.jwk, registry=registry).claims)

    def new() -> None:
        verifier = Verifier(Still(ring), Clock())
        for token in tokens:
            verifier.verify(token)

    return {"miss": micros(new, len(tokens)), "bare": micros(bare, len(tokens))}


def further_checks(ring: KeyRing, token: str) -> dict[str, float]:
    verifier = Verifier(Still(ring), Clock())
    claims = verifier.verify(token)
    revocations = Revocations(cast(Redis, None), Clock(), nothing)
    # Ten thousand sessions ended in the last twelve hours.
    for _ in range(10_000):
        revocations._apply({"s": str(uuid4())})  # noqa: SLF001 - as the stream fills it

    def remembered() -> None:
        verify = verifier.verify
        for _ in range(TIMES):
            verify(token)

    def ended() -> None:
        refuses = revocations.refusal
        for _ in range(TIMES):
            refuses(claims)

    def loop() -> None:
        for _ in range(TIMES):
            pass

    empty = micros(loop, TIMES)
    return {"hit": micros(remembered, TIMES) - empty, "revocation": micros(ended, TIMES) - empty}


async def nothing() -> Active:
    return Active()


class Still:
    """The ring as a source of keys, as services use it."""

    def __init__(self, ring: KeyRing) -> None:
        self._keys = {key.kid: key for key in ring.all()}
        self.generation = 1
        self.find = self._keys.get


def main() -> None:
    json.loads(sys.stdin.read())
    print(json.dumps({"mark": "begin"}), flush=True)
    print(json.dumps({"mark": "end", "HS256": measured("HS256"), "ES256": measured("ES256")}), flush=True)


if __name__ == "__main__":
    main()
