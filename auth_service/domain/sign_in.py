"""Signing in with a name and a password."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import admission, passwords
from auth_service.domain.clients import Client
from auth_service.domain.hashing import Verdict
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.errors import InvalidCredentials
from auth_service.models import Identifier, Password

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Known:
    user_id: UUID
    hash: str


async def with_password(
    kit: Kit, name: Name | None, password: str, client: Client, *, family: str = "canonical"
) -> Pair:
    """Raises InvalidCredentials, at the same cost, whatever of the two was wrong."""
    known = await _known(kit, name)
    verdict = await kit.hasher.verify(known.hash if known else None, password)
    if known is None or not verdict.matches:
        log.info("sign_in_refused", known=known is not None)
        raise InvalidCredentials
    async with kit.database.transaction() as db:
        return await _begin(db, kit, known, verdict, opening=Opening(amr=["pwd"], family=family), client=client)


async def _known(kit: Kit, name: Name | None) -> _Known | None:
    if name is None:
        return None
    query = select(Password.user_id, Password.hash).join(Identifier, Identifier.user_id == Password.user_id)
    query = query.where(Identifier.value_norm == name.norm, Identifier.kind == name.kind)
    # A transaction of its own, over before the hashing begins: a queue of sign-ins must not hold every connection.
    async with kit.database.transaction() as db:
        row = (await db.execute(query)).one_or_none()
    return _Known(row.user_id, row.hash) if row else None


async def _begin(
    db: AsyncSession, kit: Kit, known: _Known, verdict: Verdict, *, opening: Opening, client: Client
) -> Pair:
    current = await db.scalar(select(Password.hash).where(Password.user_id == known.user_id))
    # The password may have been changed while the old one was being checked.
    if current != known.hash:
        raise InvalidCredentials
    if verdict.upgraded:
        await passwords.upgrade(db, known.user_id, old=known.hash, new=verdict.upgraded)
    return await admission.admit(db, kit, known.user_id, opening, client=client)
