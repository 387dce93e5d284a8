"""Passkeys: set up, signed in with, kept in order."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from auth_service.deps import Confirmed, Device, Themselves, Tools
from auth_service.domain import enrolment, mfa, passkeys
from auth_service.domain.enrolment import Owner
from auth_service.routes.cookies import Cookies
from auth_service.schemas.mfa import PasskeyAdded
from auth_service.schemas.passkeys import (
    NewPasskey,
    PasskeyOptions,
    PasskeyRename,
    Passkeys,
    PasskeyShown,
    PasskeySignIn,
)
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/auth/passkeys", tags=["passkeys"])
KeepSessions = Annotated[bool, Query(description="Leave one's other sessions running.")]


@router.get("")
async def list_passkeys(me: CurrentUser, db: Db) -> Passkeys:
    """One's passkeys, ten at most."""
    return Passkeys(results=[PasskeyShown.model_validate(row) for row in await passkeys.owned(db, me.user_id)])


@router.post("/register/options", responses={409: {"description": "There are ten passkeys already."}})
async def ask_new_passkey(me: Confirmed, db: Db, kit: Tools) -> PasskeyOptions:
    """What the browser is asked to set up a passkey: one that it finds by itself, and that verifies its user."""
    return PasskeyOptions.of(await passkeys.ask_new(db, kit, me.user_id))


@router.post(
    "/register/verify",
    status_code=status.HTTP_201_CREATED,
    responses={401: {"description": "The answer is not genuine, late or repeated."}},
)
async def add_passkey(*, body: NewPasskey, me: Confirmed, kit: Tools, device: Device, jar: Cookies) -> PasskeyAdded:
    """Keeps the passkey that the browser has made. The first factor brings ten recovery codes, shown once."""
    added, passkey = await enrolment.add_passkey(kit, Owner(me.user_id, me.session_id, device), body.answer())
    return PasskeyAdded(
        passkey=PasskeyShown.model_validate(passkey), recovery_codes=added.codes, tokens=jar.continued(added.pair)
    )


@router.post("/login/options")
async def ask_passkey(db: Db, kit: Tools) -> PasskeyOptions:
    """What the browser is asked to sign in. Nobody is named: the browser shows whom it knows."""
    return PasskeyOptions.of(await passkeys.ask(db, kit, passkeys.SIGN_IN))


@router.post("/login/verify", responses={401: {"description": "The answer is not genuine, late or repeated."}})
async def sign_in_with_passkey(body: PasskeySignIn, kit: Tools, device: Device, jar: Cookies) -> Tokens | CookieTokens:
    """Signs in with a passkey, which counts as both factors."""
    if body.cookie:
        jar.require_own_page()
    return await jar.opened(await mfa.sign_in_with_passkey(kit, body.answer(), cookie=body.cookie, client=device))


@router.patch("/{passkey_id}")
async def rename_passkey(passkey_id: UUID, body: PasskeyRename, me: Themselves, db: Db) -> PasskeyShown:
    """Gives a passkey another name."""
    return PasskeyShown.model_validate(await passkeys.rename(db, me.user_id, passkey_id, body.name))


@router.delete(
    "/{passkey_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses={409: {"description": "It is the only way left to sign in."}},
)
async def remove_passkey(
    passkey_id: UUID, me: Confirmed, kit: Tools, device: Device, *, keep_sessions: KeepSessions = False
) -> None:
    """Removes a passkey. Other sessions end."""
    owner = Owner(me.user_id, me.session_id, device)
    await enrolment.remove_passkey(kit, owner, passkey_id, keep_sessions=keep_sessions)
