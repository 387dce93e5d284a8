"""What clients missed: from memory where it is kept, else from PostgreSQL, once for all who ask at the same time."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from chat_service.domain import frames
from libs.errors import ServerFault, ServiceError

if TYPE_CHECKING:
    from chat_service.domain.hub import Hub
    from chat_service.domain.log import Log
    from chat_service.domain.streams import Run, Stream

Span = tuple[int, int]
"""The number of the last event that a client has, and of the last one that it shall be told."""
Found = dict["Stream", list[bytes] | None]
"""By stream the packets; None: not all of it is in the log."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A read that is under way."""

    after: int
    upto: int
    run: "asyncio.Future[Run | None]"


async def missed(hub: "Hub", log: "Log", spans: Mapping["Stream", Span], behind: Collection["Stream"]) -> Found:
    """Raises ServiceError. Streams that are `behind` the database do not know which words have changed."""
    found: Found = {}
    shared: dict[Stream, Flight] = {}
    alone: dict[Stream, Span] = {}
    for stream, span in spans.items():
        packets = None if stream in behind else stream.tail.packets(*span)
        if packets is not None:
            found[stream] = packets
        elif stream in behind:
            alone[stream] = span
        elif stream.flight is not None and stream.flight.after <= span[0]:
            shared[stream] = stream.flight
        else:
            alone[stream] = span
    found |= await _read(hub, log, alone)
    again: dict[Stream, Span] = {}
    for stream, flight in shared.items():
        packets = _shared(stream, await asyncio.shield(flight.run), spans[stream])
        if packets is None:
            again[stream] = spans[stream]
        else:
            found[stream] = packets
    return found | await _read(hub, log, again)


async def _read(hub: "Hub", log: "Log", spans: Mapping["Stream", Span]) -> Found:
    if not spans:
        return {}
    loop = asyncio.get_running_loop()
    flights = {stream: Flight(*span, loop.create_future()) for stream, span in spans.items()}
    for stream, flight in flights.items():
        stream.flight = flight
    # A task of the hub: the socket that asked may go away, others may be waiting for the same read.
    hub.spawn(_fly(log, flights))
    return {stream: _own(await asyncio.shield(flight.run), flight) for stream, flight in flights.items()}


async def _fly(log: "Log", flights: Mapping["Stream", Flight]) -> None:
    runs: dict[UUID, Run] = {}
    failure: ServiceError | None = ServerFault()
    try:
        runs |= await log.after({s.conversation_id: (f.after, f.upto) for s, f in flights.items()})
        failure = None
    except ServiceError as error:
        failure = error
    finally:
        for stream, flight in flights.items():
            if stream.flight is flight:
                stream.flight = None
            if failure is None:
                run = runs.get(stream.conversation_id)
                if run is not None and _whole(run):
                    stream.tail.fill(run.first, run.lines)
                flight.run.set_result(run)
            else:
                flight.run.set_exception(failure)
                flight.run.exception()


def _whole(run: "Run") -> bool:
    return len(run.lines) == run.last - run.first + 1


def _own(run: "Run | None", flight: Flight) -> list[bytes] | None:
    # Part of the log may have been pruned: a partial recovery would look like a whole one.
    if run is None or len(run.lines) != flight.upto - flight.after:
        return None
    return frames.pack(run.lines)


def _shared(stream: "Stream", run: "Run | None", span: Span) -> list[bytes] | None:
    """From the read of somebody else, which may have begun before words changed that this client must not see."""
    after, upto = span
    packets = stream.tail.packets(after, upto)
    if packets is not None:
        return packets
    if run is None or not _whole(run) or stream.tail.altered > run.last:
        return None
    if not run.first <= after + 1 or run.last < upto:
        return None
    return frames.pack(run.lines[after + 1 - run.first : upto + 1 - run.first])
