"""Who watches whom: sockets that are told of others coming and going, each at most once a second.

The worker tells of all changes in one message a second on one channel, which only processes with watchers listen to.
Here each change goes to those who watch that user, and to nobody else. What a watcher may see of whom is read from
PostgreSQL with the list, and again whenever the worker says that it may have changed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from chat_service.domain import frames
from chat_service.domain.presence import AWAY, OFFLINE, ONLINE
from libs.errors import Unavailable

if TYPE_CHECKING:
    from chat_service.domain.bus import Bus
    from chat_service.domain.sessions import Session
    from libs.lanes import Lanes

CHANNEL = b"{p}.p"
MOST = 1000
"""Users that one socket may watch."""
SECONDS = 1.0

# Of each pair what the first may see of the second. A block, whoever made it, hides everything.
_SEEN = """
SELECT w.watcher, w.target,
       o.open AS sees_state, l.open AS sees_moment, s.online, s.idle, s.last_seen_at
FROM unnest($1::uuid[], $2::uuid[]) AS w(watcher, target)
LEFT JOIN LATERAL (SELECT online, idle, last_seen_at FROM sighting WHERE user_id = w.target LIMIT 1) AS s ON true
LEFT JOIN LATERAL (
    SELECT privacy ->> 'online' AS online, privacy ->> 'last_seen' AS last_seen FROM profile
    WHERE user_id = w.target LIMIT 1
) AS p ON true
CROSS JOIN LATERAL (SELECT w.watcher = w.target AS self) AS i
CROSS JOIN LATERAL (
    SELECT NOT i.self AND (
        EXISTS (SELECT 1 FROM block WHERE user_id = w.watcher AND blocked_id = w.target)
        OR EXISTS (SELECT 1 FROM block WHERE user_id = w.target AND blocked_id = w.watcher)
    ) AS blocked
) AS b
CROSS JOIN LATERAL (
    SELECT 'contacts' IN (p.online, p.last_seen) AND EXISTS (
        SELECT 1 FROM interest WHERE least(from_user_id, to_user_id) = least(w.watcher, w.target)
            AND greatest(from_user_id, to_user_id) = greatest(w.watcher, w.target) AND status = 'accepted'
    ) AS contact
) AS k
CROSS JOIN LATERAL (SELECT i.self OR NOT b.blocked AND CASE coalesce(p.online, 'everyone')
    WHEN 'everyone' THEN true WHEN 'contacts' THEN coalesce(k.contact, false) ELSE false END AS open) AS o
CROSS JOIN LATERAL (SELECT i.self OR NOT b.blocked AND CASE coalesce(p.last_seen, 'everyone')
    WHEN 'everyone' THEN true WHEN 'contacts' THEN coalesce(k.contact, false) ELSE false END AS open) AS l
"""

WATCHERS = Gauge("parley_chat_presence_watchers", "Sockets of this process that watch somebody.")
PUSHES = Counter("parley_chat_presence_pushes_total", "Pushes that tell a socket who came and went.")

log = structlog.get_logger()


def changes(rows: Iterable[Any]) -> bytes:
    """What the worker tells all processes."""
    return frames.dump({"changed": [(str(row["user_id"]), _state(row), row["last_seen_at"]) for row in rows]})


def doubts(user_ids: Sequence[UUID]) -> bytes:
    return frames.dump({"doubted": [str(user_id) for user_id in user_ids]})


async def look(lanes: "Lanes", watcher: UUID, targets: Sequence[UUID]) -> list[dict[str, Any]]:
    """What somebody may see of others. Of who may not be seen, as of who does not exist: offline, and no moment."""
    return [_shown(row) for row in await lanes.fetch(_SEEN, [watcher] * len(targets), targets)]


class Watched:
    """The list of one socket."""

    __slots__ = ("late", "reading", "sees", "session", "waiting")

    def __init__(self, session: "Session", user_ids: Iterable[UUID]) -> None:
        self.session = session
        # Of each user whether they are shown, and whether also since when they are away.
        self.sees: dict[UUID, tuple[bool, bool]] = dict.fromkeys(user_ids, (False, False))
        # Changes to be pushed, the newest of each user.
        self.waiting: dict[UUID, dict[str, Any]] = {}
        self.reading = False
        # Of whom something came while the list was being read: what was read may be older.
        self.late: set[UUID] = set()

    def note(self, user_id: UUID, state: str, moment: Any) -> None:
        """A change, as the worker tells it."""
        if self.reading:
            self.late.add(user_id)
            return
        shown, since = self.sees[user_id]
        if shown:
            self.waiting[user_id] = {"user_id": str(user_id), "state": state, "last_seen_at": moment if since else None}

    async def read(self, lanes: "Lanes", targets: Sequence[UUID]) -> list[Any]:
        """How things are, and what of it this socket may see from now on."""
        self.reading = True
        try:
            rows = await lanes.fetch(_SEEN, [self.session.user_id] * len(targets), targets)
        finally:
            self.reading = False
        for row in rows:
            self.sees[row["target"]] = (row["sees_state"], row["sees_moment"])
        return rows

    async def read_again(self, lanes: "Lanes") -> None:
        """Those who are late. What may not be seen any more is told as offline, what never was is not told."""
        while self.late and not self.reading:
            targets, self.late = sorted(self.late), set()
            before = dict(self.sees)
            try:
                rows = await self.read(lanes, targets)
            except BaseException:
                self.late.update(targets)
                raise
            for row in rows:
                if row["target"] not in self.late and (row["sees_state"] or before[row["target"]][0]):
                    self.waiting[row["target"]] = _shown(row)


class Watching:
    """The sockets of this process that watch."""

    def __init__(self, bus: "Bus", lanes: "Lanes") -> None:
        self._bus = bus
        self._lanes = lanes
        self._lists: dict[Session, Watched] = {}
        self._watchers: dict[UUID, set[Watched]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def watch(self, session: "Session", user_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Replaces the socket's list. Gives how things are; what changes from that moment on is pushed."""
        self.forget(session)
        if not user_ids or session.closed:
            return []
        watched = self._lists[session] = Watched(session, user_ids)
        for user_id in user_ids:
            self._watchers.setdefault(user_id, set()).add(watched)
        WATCHERS.set(len(self._lists))
        watched.reading = True
        try:
            # First the channel, then the look: what comes meanwhile is told after what was seen.
            await self._bus.subscribe((CHANNEL,))
            rows = await watched.read(self._lanes, user_ids)
        except BaseException:
            if self._lists.get(session) is watched:
                self.forget(session)
            raise
        self._catch_up([watched])
        return [_shown(row) for row in rows]

    def forget(self, session: "Session") -> None:
        """The socket watches nobody any more."""
        watched = self._lists.pop(session, None)
        if watched is None:
            return
        for user_id in watched.sees:
            self._watchers[user_id].discard(watched)
            if not self._watchers[user_id]:
                del self._watchers[user_id]
        WATCHERS.set(len(self._lists))
        if not self._lists:
            self._bus.unsubscribe(CHANNEL)

    def receive(self, payload: bytes) -> None:
        """A message of the worker's."""
        said = frames.load(payload)
        for user, state, moment in said.get("changed", ()):
            user_id = UUID(user)
            for watched in self._watchers.get(user_id, ()):
                watched.note(user_id, state, moment)
        doubted: set[Watched] = set()
        for user_id in map(UUID, said.get("doubted", ())):
            for watched in self._watchers.get(user_id, ()):
                watched.late.add(user_id)
                doubted.add(watched)
        self._catch_up(doubted)

    def doubt_all(self) -> None:
        """Messages may have been missed: every list is read again."""
        for watched in self._lists.values():
            watched.late.update(watched.sees)
        self._catch_up(list(self._lists.values()))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            # Those that could not be read when they were doubted.
            self._catch_up(self._lists.values())
            for watched in list(self._lists.values()):
                # A slow reader gets the newest of each user once it has caught up.
                if watched.waiting and not watched.reading and not watched.session.backlog_bytes:
                    changed, watched.waiting = watched.waiting, {}
                    PUSHES.inc()
                    data = {"changes": list(changed.values())}
                    watched.session.push(frames.packet(frames.push("p", "presence", data)))

    def _catch_up(self, lists: Iterable[Watched]) -> None:
        behind = [watched for watched in lists if watched.late and not watched.reading]
        if behind:
            task = asyncio.get_running_loop().create_task(self._read_again(behind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read_again(self, lists: Sequence[Watched]) -> None:
        for watched in lists:
            try:
                await watched.read_again(self._lanes)
            except Unavailable:
                log.warning("presence_doubted", reason="unavailable")


def _state(row: Any) -> str:
    if not row["online"]:
        return OFFLINE
    return AWAY if row["idle"] else ONLINE


def _shown(row: Any) -> dict[str, Any]:
    return {
        "user_id": str(row["target"]),
        "state": _state(row) if row["sees_state"] else OFFLINE,
        "last_seen_at": row["last_seen_at"] if row["sees_moment"] else None,
    }
