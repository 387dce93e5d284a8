"""Which country an address is in, and whether that country is let in.

The database file is read from a private copy: a file that is truncated or rewritten in place under a memory map kills
the process with SIGBUS, and operators do copy new files over old ones.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import ascii_letters
from typing import Any, Literal

import maxminddb
import structlog

from gateway.domain.client_ip import Address, Caller, Network, unwrapped, within

Choice = Literal["auto", "allow", "deny"]
_CACHED = 65_536
_PROBED = 500
_NOT_SEEN = ""
# All that two letters can be. One look-up says whether it is a code, and how it is written.
_CODES = {one + other: (one + other).upper() for one in ascii_letters for other in ascii_letters}

log = structlog.get_logger()


class Unusable(Exception):
    """The file is no country database, or an older one than that in use."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Either list may be empty. With an allow list only its countries pass; otherwise all but those of the deny list.

    `unknown`: addresses of no known country; auto lets them pass unless there is an allow list. `private`: addresses of
    local networks; auto lets them pass when the socket's peer is local too, so that no header can claim to be local.
    `status`: of a refusal, 403 or 451. `shadow`: nobody is refused; who would be is only counted.
    """

    name: str = "default"
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    exempt: tuple[Network, ...] = ()
    unknown: Choice = "auto"
    private: Choice = "auto"
    status: int = 403
    shadow: bool = False

    @property
    def active(self) -> bool:
        return bool(self.allow or self.deny)

    def admits(self, caller: Caller, country: str | None) -> bool:
        if not self.active or (self.exempt and within(caller.address, self.exempt)):
            return True
        if caller.local and not caller.garbled:
            return caller.peer_local if self.private == "auto" else self.private == "allow"
        if country is None:
            return not self.allow if self.unknown == "auto" else self.unknown == "allow"
        return country in self.allow if self.allow else country not in self.deny


class Countries:
    """Look-ups with a memory. `watch` follows the file while the process runs."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._reader: maxminddb.Reader | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, str | None] = {}

    def of(self, caller: Caller) -> str | None:
        """The ISO code, or None: unknown, local, or a caller whose address is in doubt."""
        if caller.garbled:
            return None
        country = self._known.get(caller.text, _NOT_SEEN)
        if country is not _NOT_SEEN:
            return country
        if self._reader is None:
            return None
        if len(self._known) >= _CACHED:
            # Starting over is cheaper than bookkeeping on each hit: a look-up takes microseconds.
            self._known.clear()
        country = self._known[caller.text] = self._look_up(unwrapped(caller.address))
        return country

    @property
    def built(self) -> int | None:
        """When the data was made, in seconds since 1970."""
        return self._reader.metadata().build_epoch if self._reader else None

    def reload(self) -> bool:
        """Takes the file if it changed and is good; otherwise keeps what is in use. Says whether it was taken."""
        if self._path is None:
            return False
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            self._take(_open_copy(self._path))
        except (OSError, ValueError, Unusable, maxminddb.InvalidDatabaseError) as error:
            log.warning("country_database_refused", path=str(self._path), reason=str(error) or type(error).__name__)
            return False
        log.info("country_database_loaded", path=str(self._path), built=self.built)
        return True

    async def watch(self, seconds: float = 30.0) -> None:
        while True:
            await asyncio.sleep(seconds)
            # Copying and probing some megabytes would stall every open stream for milliseconds.
            await asyncio.to_thread(self.reload)

    def _take(self, fresh: maxminddb.Reader) -> None:
        if self._reader and fresh.metadata().build_epoch < self._reader.metadata().build_epoch:
            raise Unusable("it is older than the one in use")
        # The last one is closed by its last user: a look-up may be under way in the loop's thread.
        self._reader = fresh
        self._known = {}

    def _look_up(self, address: Address) -> str | None:
        assert self._reader is not None  # noqa: S101  -- checked by the only caller
        try:
            return country_of(self._reader.get(address))
        except (ValueError, maxminddb.InvalidDatabaseError):
            # An IPv6 address in an IPv4-only tree, or a damaged branch: not known, and the rule for that decides.
            return None


def country_of(record: Any) -> str | None:
    """Understands `{country: {iso_code}}`, falling back to where the block is registered, and flat `{country_code}`."""
    if not isinstance(record, dict):
        return None
    for name in ("country", "registered_country"):
        inner = record.get(name)
        if inner is not None:
            code = _code(inner.get("iso_code") if isinstance(inner, dict) else inner)
            if code is not None:
                return code
    return _code(record.get("country_code"))


def _code(value: object) -> str | None:
    """In capitals; None for what is no country code."""
    return _CODES.get(value) if isinstance(value, str) else None


def codes(texts: Sequence[str]) -> frozenset[str]:
    for text in texts:
        if text not in _CODES:
            raise ValueError(f"{text!r} is no country code; use two letters, as DE.")
    return frozenset(_CODES[text] for text in texts)


def _open_copy(path: Path) -> maxminddb.Reader:
    handle, name = tempfile.mkstemp(prefix="parley-country-")
    try:
        with os.fdopen(handle, "wb") as copy, path.open("rb") as source:
            shutil.copyfileobj(source, copy)
        # Without the C reader a look-up takes 20 to 50 microseconds; better to hear of that at start.
        reader = maxminddb.open_database(name, maxminddb.MODE_MMAP_EXT)
    finally:
        # Unlinked but mapped: nobody can change it any more, and nothing is left when the process ends.
        Path(name).unlink()
    if not any(country_of(record) for record in _probe(reader)):
        raise Unusable(f"no countries in it ({reader.metadata().database_type})")
    return reader


def _probe(reader: maxminddb.Reader) -> Iterator[object]:
    return (record for _, record in islice(reader, _PROBED))
