"""Finding people by a part of their name."""

import unicodedata
from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import visibility
from auth_service.domain.visibility import Viewer
from auth_service.models import Names, User

SHORTEST = 2
_LONGEST_GRAM = 3
# Behind every character of a username.
_END = "\x7f"


async def keep(db: AsyncSession, user: User) -> None:
    """After every change of a name, with the change."""
    username, full_name = fold(user.username), fold(f"{user.first_name} {user.last_name}")
    row = {"username": username, "full_name": full_name, "grams": sorted(_grams((username, full_name)))}
    statement = insert(Names).values(user_id=user.id, **row)
    await db.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=row))


def fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def contain(viewer: Viewer, part: str) -> ColumnElement[bool]:
    """Of `names` joined to `users`: whether it is a part of the username or of the names that the viewer sees.

    The grams narrow it down by their index; the two comparisons decide. A single character has no gram: it finds
    usernames that begin with it."""
    wanted = fold(part)
    if len(wanted) < SHORTEST:
        return begins(wanted)
    size = min(len(wanted), _LONGEST_GRAM)
    grams = {wanted[start : start + size] for start in range(len(wanted) - size + 1)}
    named = and_(Names.full_name.contains(wanted, autoescape=True), visibility.sees(viewer, "profile"))
    found = or_(Names.username.contains(wanted, autoescape=True), named)
    return and_(Names.grams.contains(sorted(grams)), found)


def begins(part: str) -> ColumnElement[bool]:
    """Whether the username begins with it."""
    first = fold(part)
    return and_(Names.username >= first, Names.username < first + _END)


def _grams(names: Iterable[str]) -> set[str]:
    sizes = range(SHORTEST, _LONGEST_GRAM + 1)
    return {n[start : start + size] for n in names for size in sizes for start in range(len(n) - size + 1)}
