"""Dependencies that read the same in every service. What they need hangs on `app.state`, put there by `libs.web`."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    database = cast(Database, request.app.state.db)
    async with database.transaction() as session:
        yield session


async def _clock(request: Request) -> Clock:
    return cast(Clock, request.app.state.clock)


# scope="function": the commit comes before the answer. FastAPI's default would tell a client 200 and fail afterwards.
Db = Annotated[AsyncSession, Depends(_session, scope="function")]
Now = Annotated[Clock, Depends(_clock)]
