"""What the rules of auth work with besides a transaction. Put together once, where a process starts."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from redis.asyncio import Redis

from auth_service.domain.hashing import Hasher
from auth_service.domain.passwords import Policy
from auth_service.domain.providers import Providers
from auth_service.domain.puzzles import Challenge
from auth_service.domain.relying_party import RelyingParty
from auth_service.domain.rotator import Rotator
from auth_service.domain.texting import Texting
from auth_service.domain.tokens import Mint
from libs.clock import Clock
from libs.crypto import FieldCipher
from libs.db import Database
from libs.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Kit:
    """`database` is for what needs more than one transaction: no connection is held while a password is hashed."""

    database: Database
    redis: Redis
    clock: Clock
    hasher: Hasher
    passwords: Policy
    texting: Texting
    mint: Mint
    rotator: Rotator
    lanes: Lanes
    cipher: FieldCipher
    sessions_per_user: int
    adaptive: Literal["off", "mail", "step_up"]
    """What a sign-in from a new country leads to."""
    relying_party: RelyingParty
    providers: Providers
    must_verify: bool
    """Whether nobody signs in before the e-mail address is confirmed."""
    challenge: Challenge | None = None
    """What a sign-in must solve after failures, where anything."""
    avatar_hosts: frozenset[str] = frozenset()
    """Hosts at which pictures of people may lie."""
    deletion_grace: timedelta = timedelta(days=14)
    """How long an account can be taken back before it is erased."""
