"""Mails and texts to people: asked of notify, in the transaction of what they tell."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.kit import Kit
from auth_service.models import User
from libs import outbox
from libs.contracts.accounts import MessageRequested
from libs.ids import uuid7


async def mail(
    db: AsyncSession,
    kit: Kit,
    user: User,
    kind: str,
    *,
    to: str | None = None,
    secret: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> None:
    """To `to`, or to the user's own address; to nobody when there is none. `kind` names the template.

    `secret` (a code or a link's token) is encrypted on its way, shown in the mail, and erased once it was sent.
    """
    address = to or user.email
    if address is None:
        return
    message_id = uuid7()
    await outbox.add(
        db,
        MessageRequested(
            id=message_id,
            kind=kind,
            user_id=user.id,
            email=address,
            name=user.display_name,
            language=user.language,
            variables=dict(variables or {}),
            secret=_sealed(kit, message_id, secret),
        ),
        kit.clock.now(),
    )


async def notice(
    db: AsyncSession, user: User, kind: str, *, now: datetime, variables: Mapping[str, str] | None = None
) -> None:
    """A mail without a secret to the user's own address, if there is one; for the worker too."""
    if user.email is not None:
        request = MessageRequested(
            id=uuid7(),
            kind=kind,
            user_id=user.id,
            email=user.email,
            name=user.display_name,
            language=user.language,
            variables=dict(variables or {}),
        )
        await outbox.add(db, request, now)


async def text(
    db: AsyncSession, kit: Kit, kind: str, *, to: str, language: str = "en", secret: str, user_id: UUID | None = None
) -> None:
    """A short message to a phone, which may belong to nobody yet."""
    message_id = uuid7()
    request = MessageRequested(
        id=message_id,
        kind=kind,
        channel="sms",
        user_id=user_id,
        phone_number=to,
        language=language,
        secret=_sealed(kit, message_id, secret),
    )
    await outbox.add(db, request, kit.clock.now())


def _sealed(kit: Kit, message_id: UUID, secret: str | None) -> str | None:
    return kit.cipher.encrypt(secret, f"message:{message_id}") if secret is not None else None
