"""Dependencies that read the same in every service. What they need hangs on `app.state`, put there by `libs.web`."""

import inspect
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database


def made(kind: type) -> Any:
    """A dependency that makes one of a class, whose parameters are dependencies or parts of the request. The class by
    itself would do, but it is not async: the framework would make each of them in a thread, for a quarter of a
    millisecond of CPU."""

    async def make(**given: Any) -> Any:
        return kind(**given)

    # By which the framework learns what is to be given.
    make.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return Depends(make)


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    database = cast(Database, request.app.state.db)
    async with database.transaction() as session:
        yield session


async def _clock(request: Request) -> Clock:
    return cast(Clock, request.app.state.clock)


# scope="function": the commit comes before the answer. FastAPI's default would tell a client 200 and fail afterwards.
Db = Annotated[AsyncSession, Depends(_session, scope="function")]
Now = Annotated[Clock, Depends(_clock)]
