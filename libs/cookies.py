"""The cookies of browsers that keep their tokens where no script can read them.

The prefix `__Host-` makes a browser insist on `Secure`, `Path=/` and no `Domain`, so that no other host can set them.
"""

from collections.abc import Iterable

ACCESS_COOKIE = "__Host-at"
REFRESH_COOKIE = "__Host-rt"
CSRF_COOKIE = "csrf-token"
_KEPT = "Path=/; HttpOnly; Secure; SameSite=Strict"


def kept(name: str, value: str, *, seconds: int) -> str:
    """A `Set-Cookie` that no script can read and no other site can send. No seconds: the cookie goes."""
    return f"{name}={value}; Max-Age={seconds}; {_KEPT}"


def values(headers: Iterable[str], name: str) -> set[str]:
    """All values that came under a name. A cookie sent twice with two values has no meaning; callers refuse it."""
    found = set()
    for header in headers:
        for pair in header.split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name and value:
                found.add(value)
    return found
