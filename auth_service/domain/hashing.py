"""Hashing passwords: off the event loop, a bounded number at once, and at the same price whether or not it succeeds."""

import asyncio
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from passlib.hash import argon2, bcrypt
from prometheus_client import Counter, Gauge, Histogram

from auth_service.errors import Busy

Result = TypeVar("Result")

_QUEUE = 32
_BCRYPT_BYTES = 72

# A hash says itself how expensive it is to check. One that came from elsewhere must not be able to say "a week".
_MAX_MEMORY_KIB = 1 << 20
_MAX_ROUNDS = 10
_MAX_LANES = 16
_MAX_BCRYPT_COST = 15
_MIN_BCRYPT_COST = 4
_ARGON2_FORM = re.compile(r"\$argon2(?:id|i|d)\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,4})\$[\w+/]+\$[\w+/]+", re.ASCII)
_BCRYPT_FORM = re.compile(r"\$2[aby]\$(\d\d)\$[\w./]{53}", re.ASCII)

WAITING = Gauge("parley_hashing_waiting", "Passwords that wait for a thread; 32 at most.")
WAITED = Histogram(
    "parley_hashing_wait_seconds",
    "How long passwords waited for a thread.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
BUSY = Counter("parley_hashing_busy_total", "Requests that were told to come back, for too many waited.")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Cost:
    """Of an argon2id hash. The least that OWASP recommends: 17 ms and 19 MiB. The library's default costs nine times
    that for every sign-in."""

    memory_kib: int = 19_456
    rounds: int = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """`upgraded`: a new hash of the same password, when the stored one does not have today's form."""

    matches: bool
    upgraded: str | None = None


class Hasher:
    """A few threads (argon2 and bcrypt let go of the interpreter lock) with a short queue in front.

    At most 32 jobs wait, none longer than `wait_seconds`; more than that is `Busy` at once. So memory is bounded by the
    threads, and a flood of sign-ins costs those who sign in, not everybody else.
    """

    def __init__(self, threads: int = 0, *, cost: Cost = Cost(), wait_seconds: float = 2.0) -> None:
        threads = threads or _cores()
        self._argon2: Any = argon2.using(type="ID", memory_cost=cost.memory_kib, rounds=cost.rounds, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hashing")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self.wait_seconds = wait_seconds
        self._nobody: str = self._hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        return await self._run(self._hash, normal(password))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """With nothing stored the same work is done for nothing, so that the time tells nobody who has an account."""
        return await self._run(self._verify, stored, normal(password))

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[..., Result], *args: object) -> Result:
        await self._take_turn()
        loop = asyncio.get_running_loop()
        job = self._threads.submit(work, *args)

        def done(_: Future[Result]) -> None:
            # Whoever asked may be gone by now; the thread was busy until here all the same.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free.release)

        job.add_done_callback(done)
        return await asyncio.wrap_future(job)

    async def _take_turn(self) -> None:
        if self._waiting >= _QUEUE:
            BUSY.inc()
            raise Busy
        self._waiting += 1
        try:
            with WAITING.track_inprogress(), WAITED.time():
                async with asyncio.timeout(self.wait_seconds):
                    await self._free.acquire()
        except TimeoutError:
            BUSY.inc()
            raise Busy from None
        finally:
            self._waiting -= 1

    def _hash(self, password: str) -> str:
        hashed: str = self._argon2.hash(password)
        return hashed

    def _verify(self, stored: str | None, password: str) -> Verdict:
        try:
            verdict = self._compared(stored, password) if stored is not None else None
        except ValueError:
            # It looked like a hash, and the library cannot read it.
            log.error("stored_hash_malformed")  # noqa: TRY400  -- the traceback would quote it
            verdict = None
        if verdict is None:
            argon2.verify(password, self._nobody)
        return verdict or Verdict(matches=False)

    def _compared(self, stored: str, password: str) -> Verdict | None:
        """None for what no password can match, which has cost nothing yet."""
        if _is_argon2(stored):
            if not argon2.verify(password, stored):
                return Verdict(matches=False)
            return Verdict(matches=True, upgraded=self._hash(password) if self._argon2.needs_update(stored) else None)
        if _is_bcrypt(stored) and _fits_bcrypt(password):
            matches = bool(bcrypt.verify(password, stored))
            return Verdict(matches, upgraded=self._hash(password) if matches else None)
        return None


def _cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def normal(password: str) -> str:
    """The same password typed on another keyboard may arrive composed otherwise."""
    return unicodedata.normalize("NFKC", password)


def _is_argon2(stored: str) -> bool:
    form = _ARGON2_FORM.fullmatch(stored)
    if form is None:
        return False
    memory, rounds, lanes = map(int, form.groups())
    return _bounded(memory <= _MAX_MEMORY_KIB and rounds <= _MAX_ROUNDS and lanes <= _MAX_LANES)


def _is_bcrypt(stored: str) -> bool:
    form = _BCRYPT_FORM.fullmatch(stored)
    return form is not None and _bounded(int(form[1]) <= _MAX_BCRYPT_COST)


def is_acceptable(stored: str) -> bool:
    """Whether a hash from elsewhere can be kept: of a known form, whole, and not too expensive to check."""
    try:
        if _is_argon2(stored):
            parsed = argon2.from_string(stored)
            return len(parsed.salt) >= 8 and len(parsed.checksum) >= 16
        return _is_bcrypt(stored) and int(stored[4:6]) >= _MIN_BCRYPT_COST
    except ValueError:
        return False


def _fits_bcrypt(password: str) -> bool:
    """bcrypt reads 72 bytes; a longer password was never the one that was hashed, whatever its beginning."""
    return len(password.encode()) <= _BCRYPT_BYTES and "\x00" not in password


def _bounded(within: bool) -> bool:  # noqa: FBT001
    if not within:
        log.error("stored_hash_too_expensive")
    return within
