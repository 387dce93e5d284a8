"""Following conversations over a socket: who may, what was missed, and no hole between the past and the present."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from prometheus_client import Counter

from chat_service.domain import frames, replays
from chat_service.domain.log import MOST, Seen
from chat_service.errors import NoConversation, invalid
from libs.errors import BadRequest, ServiceError

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session
    from chat_service.domain.streams import Stream

Position = tuple[int, int]
Wanted = dict[str, Position | None]
"""Streams, each with the epoch and number of the last event that the client has; None: only what comes from now on."""

_MOST_NUMBER = 1 << 62
_MOST_FOCUS = 64
RESUMES = Counter("parley_chat_resumes_total", "Streams that clients came back to with a position.", ["outcome"])


class AlreadySubscribed(BadRequest):
    code = "already_subscribed"
    detail = "This socket follows the stream already."


class TooManyStreams(BadRequest):
    code = "too_many_streams"
    detail = "This socket follows too many streams."


def parse(streams: object) -> Wanted:
    """From `{"c:<id>": [epoch, seq] or null}`, or a list of streams. Raises Invalid."""
    if isinstance(streams, list):
        streams = dict.fromkeys(s for s in streams if isinstance(s, str)) if all(map(_is_text, streams)) else None
    if not isinstance(streams, dict) or not streams:
        raise invalid("streams", "This must be an object from stream to position.")
    return {key: _position(value) for key, value in streams.items()}


def parse_focus(streams: object) -> frozenset[str]:
    """From a list of streams. Raises Invalid."""
    if not isinstance(streams, list) or len(streams) > _MOST_FOCUS or not all(map(_is_text, streams)):
        raise invalid("streams", "This must be a list of streams.")
    return frozenset(streams)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _position(value: object) -> Position | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise invalid("streams", "A position is [epoch, seq].")
    if not all(type(part) is int and 0 <= part < _MOST_NUMBER for part in value):
        raise invalid("streams", "A position is [epoch, seq].")
    return value[0], value[1]


def conversation_of(stream: object) -> UUID:
    """The id in `c:<id>`. Raises NoConversation: a stream that cannot be is like one that is not yours."""
    if type(stream) is str and stream.startswith("c:") and len(stream) == 38:
        try:
            conversation_id = UUID(stream[2:])
        except ValueError:
            raise NoConversation from None
        # One spelling a stream: it is a key from here on.
        if str(conversation_id) == stream[2:]:
            return conversation_id
    raise NoConversation


async def follow(session: "Session", wanted: Wanted, reply: Callable[[dict[str, Any]], None]) -> None:
    """Subscribes; `reply` gets the outcome by stream, then come the missed events, then what happened meanwhile.

    The order matters. The socket joins the stream first and what comes is kept for it; only then PostgreSQL is asked
    whether the user is a member and what was missed up to the moment of joining. So nothing falls between, and a
    removal is either seen by the question or comes through the stream.
    """
    outcomes = {key: _error(error) for key, error in _impossible(session, wanted).items()}
    ids = [conversation_of(key) for key in wanted if key not in outcomes]
    joined = await _join(session, ids) if ids else {}
    try:
        visible = await session.context.log.visible_to(session.user_id, ids) if joined else {}
        there = {s: (top, visible[s.conversation_id]) for s, top in joined.items() if s.conversation_id in visible}
        missed = await _missed(session, wanted, there)
    except ServiceError:
        _drop(session, joined)
        raise
    _drop(session, [s for s in joined if s.conversation_id not in visible])
    followed = [s for s in joined if session in s.subscribers]
    outcomes |= {stream.key: missed[stream.key].outcome for stream in followed}
    reply({key: outcomes.get(key) or _error(NoConversation()) for key in wanted})
    for stream in followed:
        for packet in (*missed[stream.key].packets, *(stream.subscribers[session] or ())):
            session.push_event(packet, stream.key)
        # Unless it was given up while these were written.
        if session in stream.subscribers:
            stream.subscribers[session] = None


def _impossible(session: "Session", wanted: Wanted) -> dict[str, ServiceError]:
    """What can be refused without asking anybody."""
    refused: dict[str, ServiceError] = {}
    room = session.context.streams_per_socket - len(session.streams)
    for key in wanted:
        try:
            conversation_of(key)
        except NoConversation as error:
            refused[key] = error
            continue
        if key in session.streams:
            refused[key] = AlreadySubscribed()
        elif room <= 0:
            refused[key] = TooManyStreams()
        else:
            room -= 1
    return refused


async def _join(session: "Session", ids: list[UUID]) -> dict["Stream", int]:
    """Streams that were joined, with the number at which each stood then."""
    hub = session.context.hub
    unknown = [c for c in ids if c not in hub.streams]
    if unknown:
        # Before Redis is asked for a channel, for anybody could make up ids.
        mine = await session.context.log.visible_to(session.user_id, unknown)
        ids = [c for c in ids if c in mine or c in hub.streams]
    await hub.open(ids)
    joined: dict[Stream, int] = {}
    for stream in [hub.streams[c] for c in ids if c in hub.streams]:
        # A second `sub` of the same client may have been quicker.
        if not session.closed and stream.key not in session.streams:
            session.streams[stream.key] = stream
            stream.subscribers[session] = []
            joined[stream] = stream.seq
    return joined


class Missed(NamedTuple):
    outcome: dict[str, Any]
    packets: list[bytes]


async def _missed(session: "Session", wanted: Wanted, joined: dict["Stream", tuple[int, Seen]]) -> dict[str, Missed]:
    """`joined`: with each stream the number of its last event then, and what of it the user may see."""
    found = {s.key: Missed(_outcome(wanted[s.key], s.epoch, top, seen), []) for s, (top, seen) in joined.items()}
    spans: dict[Stream, Position] = {}
    behind = set()
    for stream, (top, seen) in joined.items():
        position = wanted[stream.key]
        if position is not None and found[stream.key].outcome["recovered"] and position[1] < top:
            spans[stream] = (position[1], top)
        if seen.top > stream.seq:
            behind.add(stream)
            stream.expect(seen.top)
    hub, log = session.context.hub, session.context.log
    for stream, replayed in (await replays.missed(hub, log, spans, behind)).items():
        outcome, packets = found[stream.key]
        if replayed is None:
            outcome |= {"recovered": False, "limited": True}
        else:
            outcome["n"] = spans[stream][1] - spans[stream][0]
            packets += replayed
    _count(found[stream.key].outcome for stream in joined if wanted[stream.key] is not None)
    return found


def _count(outcomes: Iterable[dict[str, Any]]) -> None:
    for outcome in outcomes:
        complete = "replayed" if outcome["n"] else "nothing_missed"
        RESUMES.labels(complete if outcome["recovered"] else "limited").inc()


def _outcome(position: Position | None, epoch: int, top: int, seen: Seen) -> dict[str, Any]:
    if position is not None:
        # Another process may have been quicker to tell this client than to tell us.
        top = max(top, min(position[1], seen.top))
    outcome = {"epoch": epoch, "top": top, "recovered": False, "limited": False, "n": 0}
    if position is not None:
        fits = position[0] == epoch and position[1] >= seen.above and 0 <= top - position[1] <= MOST
        outcome |= {"recovered": fits, "limited": not fits}
    return outcome


def _drop(session: "Session", streams: Iterable["Stream"]) -> None:
    for stream in streams:
        session.streams.pop(stream.key, None)
        session.context.hub.unfollow(session, stream)


def _error(error: ServiceError) -> dict[str, Any]:
    return {"err": frames.described(error)}
