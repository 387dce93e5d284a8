"""The key ring: a JSON file with every signing key, one algorithm a key, reloaded when it changes.

    {"keys": [{"kid": "...", "alg": "HS256", "owner": "user", "state": "active", "since": 1760000000, "key": {JWK}}]}

`owner` is `user` for access tokens, or the service that signs its calls with the key. With HS256 one ring is shared by
all services, so each could mint tokens; with ES256 every service gets a ring in which only its own key is private.
"""

import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from joserfc import jwk

from libs.contracts import SERVICES

Algorithm = Literal["HS256", "ES256"]
State = Literal["next", "active", "retiring", "revoked"]
USER = "user"
# Below the size of the digest a key is weaker than the MAC (RFC 7518, section 3.2).
_MIN_SECRET_BYTES = 32
_LOOK_SECONDS = 1.0
_PAST = ("retiring", "revoked")


class WeakKey(ValueError):
    """A key that must not be used; raised at start, so that a deployment with it does not come up."""


@dataclass(frozen=True, slots=True)
class Key:
    kid: str
    alg: Algorithm
    owner: str
    state: State
    since: int
    jwk: jwk.OctKey | jwk.ECKey

    @property
    def private(self) -> bool:
        return isinstance(self.jwk, jwk.OctKey) or self.jwk.is_private

    def public_jwk(self) -> dict[str, object]:
        """For the JWKS; never called for a symmetric key."""
        return {**self.jwk.as_dict(private=False), "kid": self.kid, "alg": self.alg, "use": "sig"}


@dataclass(frozen=True, slots=True)
class Turn:
    """How long a key has its turn, in seconds: it is known for `known` before it signs, signs for `signs`, and is
    accepted for `kept` more."""

    known: int
    signs: int
    kept: int


class KeySource(Protocol):
    """Where a verifier finds keys. `generation` changes when any key may have changed: caches start afresh."""

    @property
    def generation(self) -> int: ...
    def find(self, kid: str) -> Key | None: ...


class KeyRing:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._generation = 0
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        self._keys: dict[str, Key] = {}
        self._load()

    @classmethod
    def create(cls, path: Path, algorithm: Algorithm = "HS256") -> "KeyRing":
        """Writes a new ring with an active and a next key for users and an active key for each service."""
        now = int(time.time())
        keys = [_new_key(algorithm, USER, "active", now), _new_key(algorithm, USER, "next", now)]
        keys += [_new_key(algorithm, service, "active", now) for service in SERVICES]
        _write(path, keys)
        return cls(path)

    @property
    def generation(self) -> int:
        self._reload_if_changed()
        return self._generation

    def find(self, kid: str) -> Key | None:
        key = self._keys.get(kid)
        return None if key is None or key.state == "revoked" else key

    def all(self) -> list[Key]:
        self._reload_if_changed()
        return list(self._keys.values())

    def signing_key(self, owner: str) -> Key:
        for key in self.all():
            if key.owner == owner and key.state == "active" and key.private:
                return key
        raise LookupError(f"The key ring has no active private key of {owner!r}.")

    def rotate(self, owner: str, *, keep_seconds: int) -> None:
        """The next key signs from now on; the last one verifies for `keep_seconds` more.

        The new `next` key is in the file, and so known to every verifier, long before its turn comes: that is what
        keeps a rotation free of refused tokens.
        """
        with self._alone() as keys:
            _write(self._path, _rotated(keys, owner, now=int(time.time()), keep_seconds=keep_seconds))

    def is_due(self, owner: str, turn: Turn, *, now: int) -> bool:
        """Whether `take_turns` has something to do."""
        return _turned(self.all(), owner, turn, now=now) is not None

    def take_turns(self, owner: str, turn: Turn, *, now: int) -> bool:
        """Rotates when the key that signs had its turn and the next one is known for long enough: then it is true. And
        takes out what need not be accepted any more."""
        with self._alone() as keys:
            turned = _turned(keys, owner, turn, now=now)
            if turned is None:
                return False
            _write(self._path, turned)
        return _signing(turned, owner) != _signing(keys, owner)

    def require_writable(self) -> None:
        """Raises OSError."""
        with tempfile.TemporaryFile(dir=self._path.parent):
            pass

    def revoke(self, kid: str, *, keep_seconds: int) -> None:
        """In an emergency: whatever the key has signed is refused from now on, by whoever reads this file. Raises
        LookupError.

        If it was the one that signs, the next one takes over.
        """
        now = int(time.time())
        with self._alone() as keys:
            key = next((each for each in keys if each.kid == kid and each.state != "revoked"), None)
            if key is None:
                raise LookupError(kid)
            signing = key.state == "active"
            left = _rotated(keys, key.owner, now=now, keep_seconds=keep_seconds) if signing else keys
            left = [replace(each, state="revoked", since=now) if each.kid == kid else each for each in left]
            if key.state == "next":
                left.append(_new_key(key.alg, key.owner, "next", now))
            _write(self._path, left)

    def write_for(self, service: str, path: Path) -> None:
        """The ring that `service` may hold: of asymmetric keys only its own stays private."""
        _write(path, self.all(), private_to=service)

    @contextmanager
    def _alone(self) -> Iterator[list[Key]]:
        """The keys as they are in the file, for one writer at a time: what it has read is what it replaces."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            # Not every network file system locks folders.
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            self._load()
            yield list(self._keys.values())
            self._load()
        finally:
            os.close(folder)

    def _reload_if_changed(self) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_ino) != self._stamp:
                self._load()

    def _load(self) -> None:
        status = self._path.stat()
        document = json.loads(self._path.read_text())
        self._keys = {key.kid: key for key in map(_parse, document["keys"])}
        self._stamp = (status.st_mtime_ns, status.st_ino)
        self._generation += 1


def _rotated(keys: list[Key], owner: str, *, now: int, keep_seconds: int) -> list[Key]:
    mine = [key for key in keys if key.owner == owner]
    algorithm = mine[0].alg if mine else "HS256"
    kept = [key for key in mine if key.state in _PAST and now - key.since < keep_seconds]
    for key in mine:
        if key.state == "active":
            kept.append(replace(key, state="retiring", since=now))
        elif key.state == "next":
            kept.append(replace(key, state="active", since=now))
    if not any(key.state == "active" for key in kept):
        kept.append(_new_key(algorithm, owner, "active", now))
    kept.append(_new_key(algorithm, owner, "next", now))
    return [*(key for key in keys if key.owner != owner), *kept]


def _turned(keys: list[Key], owner: str, turn: Turn, *, now: int) -> list[Key] | None:
    """None: nothing is due."""
    mine = [key for key in keys if key.owner == owner]
    coming = next((key for key in mine if key.state == "next"), None)
    had_its_turn = all(now - key.since >= turn.signs for key in mine if key.state == "active")
    if coming and had_its_turn and now - coming.since >= turn.known:
        return _rotated(keys, owner, now=now, keep_seconds=turn.kept)
    over = {key.kid for key in mine if key.state in _PAST and now - key.since >= turn.kept}
    if coming and not over:
        return None
    left = [key for key in keys if key.kid not in over]
    return left if coming else [*left, _new_key(mine[0].alg, owner, "next", now)]


def _signing(keys: Iterable[Key], owner: str) -> set[str]:
    return {key.kid for key in keys if key.owner == owner and key.state == "active"}


def _new_key(algorithm: Algorithm, owner: str, state: State, since: int) -> Key:
    made: jwk.OctKey | jwk.ECKey
    while True:
        if algorithm == "HS256":
            kid, made = secrets.token_urlsafe(12), jwk.OctKey.generate_key(512)
        else:
            made = jwk.ECKey.generate_key("P-256")
            kid = made.thumbprint()
        # The command line would take it for an option.
        if not kid.startswith("-"):
            return Key(kid, algorithm, owner, state, since, made)


def _parse(entry: dict[str, object]) -> Key:
    material = entry["key"]
    alg = entry["alg"]
    if not isinstance(material, dict) or alg not in ("HS256", "ES256"):
        raise WeakKey(f"Key {entry.get('kid')!r}: the algorithm must be HS256 or ES256.")
    key: jwk.OctKey | jwk.ECKey
    if alg == "HS256":
        key = jwk.OctKey.import_key(material)
        if len(key.raw_value) < _MIN_SECRET_BYTES:
            raise WeakKey(f"Key {entry.get('kid')!r}: a secret needs at least {_MIN_SECRET_BYTES} bytes.")
    else:
        key = jwk.ECKey.import_key(material)
    return Key(
        kid=str(entry["kid"]),
        alg=alg,
        owner=str(entry["owner"]),
        state=entry["state"],  # type: ignore[arg-type]
        since=int(str(entry["since"])),
        jwk=key,
    )


def _write(path: Path, keys: Iterable[Key], *, private_to: str | None = None) -> None:
    entries = []
    for key in keys:
        private = key.private and (private_to is None or key.alg == "HS256" or key.owner == private_to)
        entries.append(
            {
                "kid": key.kid,
                "alg": key.alg,
                "owner": key.owner,
                "state": key.state,
                "since": key.since,
                "key": key.jwk.as_dict(private=private),
            }
        )
    # Written beside and renamed: a reader sees the old ring or the new one, never half of it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        json.dump({"keys": entries}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    # mkstemp makes the file 0600; a ring that was opened to a group of processes stays open to it.
    if path.exists():
        Path(temporary).chmod(path.stat().st_mode & 0o777)
    Path(temporary).replace(path)
