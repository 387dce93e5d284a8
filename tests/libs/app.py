"""A small service, to test the kernel through HTTP: it keeps notes, and signs its calls as chat."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar

from fastapi import APIRouter, FastAPI, Query
from pydantic import Field
from sqlalchemy import text

from libs import internal, outbox, web
from libs.auth import CurrentUser
from libs.contracts.events import EventData
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset
from libs.runtime import open_runtime
from libs.settings import ServiceSettings
from libs.shapes import Body, Text

router = APIRouter(prefix="/api/v1/notes")


class NoteWritten(EventData):
    type: ClassVar[str] = "NoteWritten"
    text: str


class Note(Body):
    text: Text = Field(min_length=1, max_length=100)
    stars: int = Field(0, ge=0, le=5)


@router.post("", status_code=201)
async def write(note: Note, db: Db, clock: Now, me: CurrentUser) -> dict[str, str]:
    await db.execute(text("INSERT INTO note (author, text) VALUES (:me, :text)"), {"me": me.user_id, "text": note.text})
    await outbox.add(db, NoteWritten(text=note.text), clock.now())
    return {"text": note.text}


@router.get("")
async def read(
    db: Db,
    me: CurrentUser,
    paging: Annotated[PageRequest, keyset(int)],
    word: Annotated[Text | None, Query(max_length=20)] = None,
) -> Page[dict[str, object]]:
    rows = await db.execute(
        text(
            "SELECT id, text FROM note WHERE author = :me AND id > :after AND text LIKE :word ORDER BY id LIMIT :limit"
        ),
        {
            "me": me.user_id,
            "after": paging.after[0] if paging.after else 0,
            "word": f"%{word or ''}%",
            "limit": paging.limit + 1,
        },
    )
    return paging.page([dict(row._mapping) for row in rows], lambda row: (int(str(row["id"])),))


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError("the password is hunter2")


@router.get("/slow")
async def slow(db: Db) -> None:
    await db.execute(text("SELECT pg_sleep(0.01)"))


@router.get("/{note_id}")
async def one(note_id: int, me: CurrentUser) -> dict[str, int]:
    return {"id": note_id}


def create_app(settings: ServiceSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_runtime("chat", settings) as runtime:
            runtime.onto(app)
            yield

    async def database_answers() -> None:
        await app.state.db.ping()

    async def redis_answers() -> None:
        await app.state.redis.ping()

    app = web.create_app(
        name="notes",
        title="Notes",
        description="Notes",
        settings=settings,
        routers=[router, internal.router],
        lifespan=lifespan,
        checks={"database": database_answers, "redis": redis_answers},
    )
    return app
