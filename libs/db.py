"""PostgreSQL: one engine a process, one transaction a request, frame or job."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import ARRAY, URL, ColumnElement, MetaData, any_, bindparam, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import InstrumentedAttribute

from libs.metrics import QUERIES, SLOW_QUERIES

# Deadlock, serialization failure, lock not available, statement timeout; shutting down, crashed, starting up. With the
# classes below (connection lost, out of connections or memory) the same statement may succeed a moment later.
_BUSY = frozenset({"40P01", "40001", "55P03", "57014", "57P01", "57P02", "57P03"})
_BUSY_CLASSES = ("08", "53")
# So long a connection may be unused before the server is asked whether it is still there.
_IDLE_SECONDS = 5.0

log = structlog.get_logger()


def new_metadata() -> MetaData:
    """For a service's `Base`. Constraints are named by one convention, so that migrations can name them."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


@dataclass(slots=True)
class QueryCount:
    """What one request did in the database; shown in its answer's headers."""

    statements: int = 0
    seconds: float = 0.0


_NOTHING = text("SELECT 1")
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
query_count: ContextVar[QueryCount | None] = ContextVar("query_count", default=None)


def one_of(column: InstrumentedAttribute[Any], name: str) -> ColumnElement[bool]:
    """`IN`, with the parameter of that name, a list: the same statement for however many, prepared and planned once.

    For statements of modules: to make and to name one in each call costs more than to run it."""
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


async def see_one_moment(db: AsyncSession) -> None:
    """Whatever is read in this transaction, by however many statements, is of one moment. To be the first of them."""
    await db.execute(_ONE_MOMENT)


async def even_out(db: AsyncSession, statements: int) -> None:
    """For answers that must not tell what was found: does nothing until the request has sent so many statements. More
    than on any of its ways, for the number is in the answer's headers and a part of its time."""
    count = query_count.get()
    while count is not None and count.statements < statements:
        await db.execute(_NOTHING)


def async_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


class Database:
    def __init__(self, url: str, *, service: str, pool_size: int = 10, slow_query_ms: int = 200) -> None:
        self.engine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=0,
            # A request that cannot get a connection soon should be told so while its client still waits.
            pool_timeout=5,
            pool_recycle=1800,
            connect_args={
                "timeout": 5,
                "server_settings": {
                    "application_name": f"parley-{service}",
                    "statement_timeout": "15000",
                    "idle_in_transaction_session_timeout": "30000",
                    "lock_timeout": "5000",
                },
            },
        )
        # Tells the relay that the outbox has rows. A hint only: without it the relay finds them a second later.
        self.announce: Callable[[], Awaitable[None]] | None = None
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=False)
        _count_statements(self.engine.sync_engine, service, slow_query_ms / 1000)
        _replace_dead_connections(self.engine.sync_engine)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commits on leaving, rolls back on an exception. Events written with it are announced after the commit."""
        async with self._sessions() as session:
            async with session.begin():
                yield session
            if self.announce and session.info.get("events"):
                await self.announce()

    async def ping(self) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def is_unavailable(error: BaseException) -> bool:
    """Whether an error says that PostgreSQL or Redis cannot serve now, rather than that a statement was wrong."""
    if isinstance(error, DBAPIError):
        busy = _is_busy(error.orig)
        return busy or error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    if isinstance(error, asyncpg.PostgresError):
        return _is_busy(error)
    return isinstance(error, OSError | PoolTimeout | RedisConnectionError | RedisTimeoutError)


def _is_busy(error: BaseException | None) -> bool:
    state = getattr(error, "sqlstate", None) or ""
    return state in _BUSY or state.startswith(_BUSY_CLASSES)


def _replace_dead_connections(engine: Any) -> None:
    """A connection that died turns into a new one, not into an error.

    SQLAlchemy's own way asks the server before every transaction, in three round trips. A connection that was closed
    knows it without asking; only one that has been idle for a while may not have heard.
    """

    @event.listens_for(engine, "checkin")
    def returned(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        if time.monotonic() - record.info.get("used", time.monotonic()) > _IDLE_SECONDS:
            try:
                connection.ping()
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error


def _count_statements(engine: Any, service: str, slow_seconds: float) -> None:
    counter = QUERIES.labels(service)
    slow = SLOW_QUERIES.labels(service)

    @event.listens_for(engine, "before_cursor_execute")
    def started(_conn: Any, _cursor: Any, _sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001
        context.started = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def finished(_conn: Any, _cursor: Any, sql: str, _params: Any, context: Any, _many: bool) -> None:  # noqa: FBT001
        seconds = time.perf_counter() - context.started
        counter.inc()
        count = query_count.get()
        if count is not None:
            count.statements += 1
            count.seconds += seconds
        if seconds >= slow_seconds:
            slow.inc()
            # The text has placeholders only: values never reach the log.
            log.warning("slow_query", seconds=round(seconds, 3), sql=" ".join(sql.split())[:500])
