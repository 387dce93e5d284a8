from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast
from uuid import UUID

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.errors import FieldError, Invalid
from libs.paging import PageRequest, keyset
from notify_service.domain import idempotency
from notify_service.domain.profiles import Ask
from notify_service.domain.signals import Signals

Shape = TypeVar("Shape", bound=BaseModel)

# Ids go into the address of the call, whose length has a limit.
STAFF = frozenset({"support", "moderator", "admin"})


class Once:
    """`await once(body, make)`: the effect of `make` and its answer, for this request and all that repeat it."""

    def __init__(
        self,
        request: Request,
        db: Db,
        *,
        me: CurrentUser,
        clock: Now,
        key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                pattern=r"^[\x21-\x7e]{1,255}$",
                description="Repeating a request with the same key within a day has no second effect.",
            ),
        ] = None,
    ) -> None:
        self._request = request
        self._db = db
        self._me = me
        self._clock = clock
        self._key = key

    async def __call__(self, body: BaseModel, make: Callable[[], Awaitable[Shape]], shape: type[Shape]) -> Shape:
        if self._key is None:
            return await make()
        owner, now = self._me.user_id, self._clock.now()
        request_hash = idempotency.hash_of(self._request.method, self._request.url.path, body.model_dump_json())
        known = await idempotency.begin(self._db, owner, self._key, request_hash=request_hash, now=now)
        if known is not None:
            return shape.model_validate(known)
        answer = await make()
        await idempotency.end(self._db, owner, self._key, answer.model_dump_json())
        return answer


class Links:
    """The ways to the rest of Parley."""

    def __init__(self, request: Request) -> None:
        self.signals = cast(Signals, request.app.state.signals)
        self.ask = cast(Ask, request.app.state.ask)


class Before:
    """The page asked for, and the id that it lies behind."""

    def __init__(self, paging: Annotated[PageRequest, keyset(str)]) -> None:
        self.paging = paging
        try:
            self.id = UUID(str(paging.after[0])) if paging.after else None
        except ValueError:
            raise Invalid(errors=[FieldError("cursor", "This cursor is not valid.")]) from None


OnceOnly = Annotated[Once, Depends()]
Paging = Annotated[Before, Depends()]
Outside = Annotated[Links, Depends()]
