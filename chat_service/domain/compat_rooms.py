"""Conversations as the Rooms client knows them: numbers for ids, messages inside, oldest first."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import conversations, inbox, pairs, profiles, recent
from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation, invalid
from libs.contracts.accounts import Profile
from libs.errors import Forbidden, Invalid, NotFound
from libs.lanes import Lanes

AskNumbers = Callable[[Sequence[int]], Awaitable[list[Profile]]]
"""Asks auth for profiles by number; those that do not exist are missing in the answer. Raises Unavailable."""

MAX_NUMBER = (1 << 63) - 1
# This client knows no pages.
_MOST_LISTED = 1000
_MOST_PEOPLE = 1000

_BY_NUMBER = text("SELECT user_id, number FROM profile WHERE number = ANY (CAST(:numbers AS bigint[])) AND NOT erased")
_PEOPLE = text(
    """
    SELECT w.id AS conversation, m.user_id, p.number, p.username, p.email, p.first_name, p.last_name
    FROM unnest(CAST(:ids AS uuid[])) AS w(id)
    CROSS JOIN LATERAL (
        SELECT user_id, joined_at FROM member WHERE conversation_id = w.id ORDER BY joined_at, user_id LIMIT :shown
    ) AS m
    JOIN profile AS p ON p.user_id = m.user_id
    ORDER BY w.id, m.joined_at, p.number
    """
)
_MINE = text(
    "SELECT c.id FROM conversation AS c JOIN member AS m ON m.conversation_id = c.id AND m.user_id = :user"
    " WHERE c.number = :number AND c.deleted_at IS NULL"
)


def number_in(path: str) -> int:
    """Raises NotFound: what is no number is like one that is not there."""
    if not (path.isascii() and path.isdecimal() and len(path) < 20 and 0 < int(path) <= MAX_NUMBER):
        raise NotFound
    return int(path)


def numbers_in(given: object) -> list[int]:
    """The people that a request names. Raises Invalid in the client's words."""
    if not isinstance(given, list):
        raise invalid("participants", f'Expected a list of items but got type "{type(given).__name__}".')
    if not given:
        raise invalid("participants", "This list may not be empty.")
    if len(given) > _MOST_PEOPLE:
        raise invalid("participants", f"Ensure this field has no more than {_MOST_PEOPLE} elements.")
    return list(dict.fromkeys(_number(each) for each in given))


def _number(given: object) -> int:
    if type(given) is str and given.isascii() and given.isdecimal() and len(given) < 20:
        given = int(given)
    if type(given) is not int:
        raise invalid("participants", f"Incorrect type. Expected pk value, received {type(given).__name__}.")
    if not 0 < given <= MAX_NUMBER:
        raise _unknown(given)
    return given


def _unknown(number: int) -> Invalid:
    return invalid("participants", f'Invalid pk "{number}" - object does not exist.')


async def people(db: AsyncSession, numbers: Sequence[int], ask: AskNumbers) -> dict[int, UUID]:
    """Who they are. Raises Invalid for a number that nobody has. Who is not in the copy yet is asked for once."""
    found = await _kept(db, numbers)
    missing = [number for number in numbers if number not in found]
    if missing:
        for profile in await ask(missing):
            await profiles.store(db, profile)
        # From the copy again, which knows who was erased.
        found |= await _kept(db, missing)
    for number in numbers:
        if number not in found:
            raise _unknown(number)
    return found


async def create(
    db: AsyncSession, hub: Hub, me: UUID, named: Mapping[int, UUID], *, ask: profiles.Ask, now: datetime
) -> dict[str, Any]:
    """With one other person the direct conversation, the one that is there if any; with more a new group."""
    others = [user_id for user_id in named.values() if user_id != me]
    if not others:
        raise invalid("participants", "Name at least one other person.")
    new = conversations.New("direct" if len(others) == 1 else "group", others)
    try:
        made, _ = await conversations.create(db, hub, me, new, ask=ask, now=now)
    except Forbidden as error:
        raise invalid("participants", error.detail) from None
    except Invalid:
        raise await _unwilling(db, me, named) from None
    return (await _shaped(db, me, [made], [made["last_message"]] if made["last_message"] else []))[0]


async def _unwilling(db: AsyncSession, me: UUID, named: Mapping[int, UUID]) -> Invalid:
    """Who may not be met does not exist: suspended, or of two people who have blocked one another."""
    there = await pairs.reachable(db, me, await profiles.known(db, named.values(), _nobody))
    gone = [number for number, user_id in named.items() if user_id not in there]
    return _unknown(gone[0] if gone else next(number for number, user_id in named.items() if user_id != me))


async def _nobody(_: Sequence[UUID]) -> list[Profile]:
    return []


async def _kept(db: AsyncSession, numbers: Sequence[int]) -> dict[int, UUID]:
    return {row.number: row.user_id for row in await db.execute(_BY_NUMBER, {"numbers": list(numbers)})}


async def listed(db: AsyncSession, lanes: Lanes, me: UUID) -> list[dict[str, Any]]:
    """One's own, newest activity first, each with its last message alone."""
    found = await inbox.listed(lanes, me, limit=_MOST_LISTED)
    return await _shaped(db, me, found, [c["last_message"] for c in found if c["last_message"]])


async def read(db: AsyncSession, kept: recent.Recent, me: UUID, number: int) -> dict[str, Any]:
    """With its last 100 messages. Raises NotFound."""
    conversation_id = await _mine(db, me, number)
    try:
        messages, _ = await recent.newest(kept, me, conversation_id)
        found = await conversations.read(db, me, conversation_id)
    except NoConversation:
        raise NotFound from None
    return (await _shaped(db, me, [found], messages[::-1]))[0]


async def messages_of(db: AsyncSession, kept: recent.Recent, me: UUID, number: int) -> tuple[list[dict[str, Any]], str]:
    """The last 100, and where they came from: `redis` or `database`. Raises NotFound."""
    try:
        messages, source = await recent.newest(kept, me, await _mine(db, me, number))
    except NoConversation:
        raise NotFound from None
    return await _readable(db, messages[::-1]), source


async def _mine(db: AsyncSession, me: UUID, number: int) -> UUID:
    conversation_id: UUID | None = await db.scalar(_MINE, {"user": me, "number": number})
    if conversation_id is None:
        raise NotFound
    return conversation_id


async def _shaped(
    db: AsyncSession, me: UUID, found: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    shown = _MOST_PEOPLE if len(found) == 1 else conversations.SHOWN_ALONE
    people: dict[UUID, list[dict[str, Any]]] = {}
    for row in (await db.execute(_PEOPLE, {"ids": [c["id"] for c in found], "shown": shown})).mappings():
        people.setdefault(row["conversation"], []).append(_person(row, me))
    said: dict[str, list[dict[str, Any]]] = {}
    for message, readable in zip(_whole(messages), await _readable(db, messages), strict=True):
        said.setdefault(str(message["conversation_id"]), []).append(readable)
    return [
        {
            "id": conversation["number"],
            "participants": people.get(conversation["id"], []),
            "messages": said.get(str(conversation["id"]), []),
            "created_at": conversation["created_at"],
        }
        for conversation in found
    ]


def _person(row: Any, me: UUID) -> dict[str, Any]:
    """An address is its owner's business: this client has no way to ask who may see it."""
    return {
        "id": row["number"],
        "username": row["username"],
        "email": row["email"] if row["user_id"] == me else None,
        "first_name": row["first_name"],
        "last_name": row["last_name"],
    }


async def _readable(db: AsyncSession, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    there = _whole(messages)
    numbers = await _numbers(db, {message["sender"]["id"] for message in there})
    return [
        {
            "id": message["seq"],
            "sender_id": numbers.get(message["sender"]["id"], 0),
            "sender": message["sender"]["username"],
            "content": message["content"],
            "timestamp": message["created_at"],
        }
        for message in there
    ]


def _whole(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """This client knows no deleted messages: they are not there."""
    return [message for message in messages if not message["deleted_at"]]


async def _numbers(db: AsyncSession, user_ids: Collection[str]) -> dict[str, int]:
    query = text("SELECT user_id, number FROM profile WHERE user_id = ANY (CAST(:ids AS uuid[]))")
    rows = await db.execute(query, {"ids": [UUID(user_id) for user_id in user_ids]})
    return {str(row.user_id): row.number for row in rows}
