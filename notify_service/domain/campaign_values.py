"""Declared variables in campaigns: looked at beforehand, and put into words when it begins."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import snapshots
from notify_service.domain.snapshots import Plan
from notify_service.domain.wording import WRONG

_MOST_EXAMPLES = 20
_SHOWN = 100
# Small enough that others have their turn in between.
_AT_ONCE = 1000
_OF_BATCH = text(
    """
    SELECT d.id, d.variables, p.language, p.timezone FROM delivery AS d LEFT JOIN profile AS p USING (user_id)
    WHERE d.batch_id = :batch AND d.state = 'queued' AND d.id > :after ORDER BY d.id LIMIT :most
    """
)
_PUT = text(
    """
    UPDATE delivery SET variables = coalesce(given.variables, delivery.variables),
        state = CASE WHEN given.variables IS NULL THEN 'failed' ELSE state END,
        reason = CASE WHEN given.variables IS NULL THEN :wrong END
    FROM json_to_recordset(CAST(:rows AS json)) AS given(id uuid, variables jsonb)
    WHERE delivery.id = given.id
    """
)


class Example(NamedTuple):
    """A value of another type than the one that is declared."""

    position: int
    name: str
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """`names`: how many members have a wrong value of each. `addresses`: who would get it but for that."""

    names: Mapping[str, int]
    addresses: frozenset[str]
    examples: Sequence[Example]

    @property
    def lines(self) -> dict[str, list[int]]:
        """Some, by name."""
        found: dict[str, list[int]] = {}
        for each in self.examples:
            found.setdefault(each.name, []).append(each.position)
        return found


async def look(db: AsyncSession, plan: Plan) -> Wrong:
    """At all members, if anything is declared."""
    names: Counter[str] = Counter()
    addresses: set[str] = set()
    examples: list[Example] = []
    if plan.wording.kinds:
        async for rows in snapshots.members(db, plan):
            for row in rows:
                wrong = plan.wording.wrong(row.variables)
                names.update(wrong.keys())
                if wrong and row.gets_it:
                    addresses.add(row.address)
                if len(examples) < _MOST_EXAMPLES:
                    examples += (Example(row.position, name, _cut(row, name), why) for name, why in wrong.items())
    return Wrong(names, frozenset(addresses), examples[:_MOST_EXAMPLES])


async def word(db: AsyncSession, plan: Plan, batch_id: UUID) -> int:
    """Puts the values of a batch that was made in this transaction into the words of their readers. Returns how many
    of its deliveries have failed because a value is wrong."""
    wrong, after = 0, UUID(int=0)
    while True:
        rows = (await db.execute(_OF_BATCH, {"batch": batch_id, "after": after, "most": _AT_ONCE})).all()
        said = [{"id": row.id, "variables": worded(plan, row)} for row in rows]
        if said:
            await db.execute(_PUT, {"rows": json.dumps(said, default=str), "wrong": WRONG})
        wrong += sum(each["variables"] is None for each in said)
        if len(rows) < _AT_ONCE:
            return wrong
        after = rows[-1].id


def worded(plan: Plan, row: Row[Any]) -> dict[str, str] | None:
    """The values of a row with its reader's `language` and `timezone`; None where one is wrong."""
    try:
        return plan.wording.of(row.variables, row.language, row.timezone)
    except ValueError:
        return None


def _cut(row: Row[Any], name: str) -> str:
    value: str = row.variables[name]
    return value[:_SHOWN]
