"""What a client can say over a socket of threads."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from chat_service.domain import threads
from chat_service.domain.requests import Handler, Request, required_uuid, seq_of

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session


async def read(session: "Session", request: Request) -> object:
    root_id, seq = required_uuid(request.data, "root_id"), seq_of(request)
    return asdict(await threads.read(session.context, session.user_id, root_id, seq=seq))


async def follow(session: "Session", request: Request) -> object:
    root_id = required_uuid(request.data, "root_id")
    return asdict(await threads.follow(session.context, session.user_id, root_id, on=True))


async def unfollow(session: "Session", request: Request) -> object:
    root_id = required_uuid(request.data, "root_id")
    return asdict(await threads.follow(session.context, session.user_id, root_id, on=False))


OPS: dict[str, Handler] = {"thread_read": read, "follow": follow, "unfollow": unfollow}
