"""What administrators have decided for all messages of a category: how many may go, and which go together."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator
from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from libs.errors import Invalid, NotFound
from notify_service.domain.content import NO_ADDRESS, Content, Part
from notify_service.domain.digest_times import Seconds, Window
from notify_service.domain.preferences import CRITICAL
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.errors import AlwaysSent
from notify_service.models import Category

# What the content of a digest can be told.
COUNT, ITEMS, SUBJECT = "count", "items", "subject"
_TOLD = frozenset({COUNT, ITEMS, SUBJECT})
_AMONG = select(Category.name, Category.throttle, Category.digest).where(one_of(Category.name, "names"))
# In the order in which those who collect lock them.
_LET_GO = text(
    """
    UPDATE digest SET closes_at = :now WHERE id IN (
        SELECT id FROM digest WHERE category = :name AND closes_at > :now ORDER BY bucket FOR UPDATE)
    """
)


class Throttle(Part):
    """At most so many messages to one address, over one channel, in any so many seconds."""

    most: Annotated[int, Field(ge=1, le=100)]
    seconds: Seconds


class Digest(Part):
    """Messages to one reader, over one channel, that are collected and said as one."""

    window: Window
    key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] | None = Field(
        None, description="A variable: messages with another value of it are another digest."
    )
    most_items: Annotated[int, Field(ge=2, le=50)] = Field(20, description="The others are counted.")
    content: Content | None = Field(
        None, description="What it says, with `{{count}}`, `{{items}}` and `{{subject}}`. Without it, the items."
    )

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        content = self.content
        if content is None:
            return self
        if not content.placeholders() <= _TOLD:
            raise ValueError("A digest knows {{count}}, {{items}} and {{subject}}.")
        if content != content.undeclared():
            raise ValueError("A digest declares no variables.")
        if any(content.false_links()):
            raise ValueError(NO_ADDRESS)
        return self


class Rule(Part):
    throttle: Throttle | None = None
    digest: Digest | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.throttle is None and self.digest is None:
            raise ValueError("Give a throttle or a digest.")
        return self


async def page(db: AsyncSession, *, after: str | None, limit: int) -> Sequence[Category]:
    """By name, one more than `limit` if there are more."""
    query = select(Category).order_by(Category.name).limit(limit + 1)
    if after is not None:
        query = query.where(Category.name > after)
    return (await db.scalars(query)).all()


async def read(db: AsyncSession, name: str) -> Category:
    """Raises NotFound where nothing was decided."""
    found = await db.get(Category, name)
    if found is None:
        raise NotFound
    return found


async def decide(db: AsyncSession, name: str, rule: Rule, *, links: UnsubscribeLinks, now: datetime) -> Category:
    """Holds for what is accepted from now on; where nothing is collected any more, what is waits no longer. Raises
    AlwaysSent, and Invalid for a way out that there is not."""
    if name in CRITICAL:
        raise AlwaysSent
    content = rule.digest.content if rule.digest else None
    if content is not None and (wrong := links.problems(name, [("digest.content", content)])):
        raise Invalid(errors=wrong)
    said = rule.model_dump(mode="json", exclude_defaults=True)
    values = {"throttle": said.get("throttle"), "digest": said.get("digest"), "updated_at": now}
    statement = insert(Category).values(name=name, **values)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_=values)
    decided: Category = (await db.scalars(statement.returning(Category))).one()
    if rule.digest is None:
        await db.execute(_LET_GO, {"name": name, "now": now})
    return decided


async def forget(db: AsyncSession, name: str, now: datetime) -> None:
    """From now on each message is sent as it comes, and what is collected waits no longer. Raises NotFound."""
    removed = await db.scalar(delete(Category).where(Category.name == name).returning(Category.name))
    if removed is None:
        raise NotFound
    await db.execute(_LET_GO, {"name": name, "now": now})


async def among(db: AsyncSession, names: Collection[str]) -> dict[str, Rule]:
    """What holds for those of these categories for which something does."""
    if not names:
        return {}
    return {
        row.name: Rule.model_validate({"throttle": row.throttle, "digest": row.digest})
        for row in await db.execute(_AMONG, {"names": list(names)})
    }
