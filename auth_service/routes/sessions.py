"""One's own sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, status

from auth_service.deps import Device, Tools
from auth_service.domain import api_tokens, sessions, user_agents
from auth_service.domain.sessions import Ending
from auth_service.models import Session
from auth_service.routes.cookies import Cookies
from auth_service.schemas.sessions import SessionShown, SignedOut, SignedOutEverywhere, SignOut
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/auth", tags=["sessions"])
Paging = Annotated[PageRequest, keyset(UUID)]


def _shown(session: Session, current: UUID) -> SessionShown:
    agent = user_agents.described(session.user_agent)
    return SessionShown(
        id=session.id,
        current=session.id == current,
        ip=sessions.coarse(session.ip),
        country=session.country,
        device=agent.device,
        os=agent.os,
        app=agent.app,
        user_agent=session.user_agent,
        amr=session.amr,
        aal=session.aal,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        expires_at=min(session.idle_expires_at, session.expires_at),
    )


@router.post("/logout")
async def sign_out(
    *, me: CurrentUser, kit: Tools, device: Device, jar: Cookies, body: SignOut | None = None
) -> SignedOut:
    """Ends the session: its refresh token and its access tokens are refused by every service from now on."""
    refresh = (body.refresh if body else None) or jar.refresh
    jar.clear()
    await sessions.sign_out(kit, me.session_id, me.user_id, refresh_token=refresh, client=device)
    return SignedOut()


@router.post("/logout-all")
async def sign_out_everywhere(
    *, me: CurrentUser, db: Db, kit: Tools, device: Device, jar: Cookies
) -> SignedOutEverywhere:
    """Ends all of one's sessions, this one included. Tokens for programs stay."""
    jar.clear()
    ended = await sessions.sign_out_everywhere(kit, me.user_id, keep=None, client=device)
    return SignedOutEverywhere(ended=ended, api_tokens=await api_tokens.count(db, me.user_id, now=kit.clock.now()))


@router.post("/logout-others")
async def sign_out_elsewhere(me: CurrentUser, db: Db, kit: Tools, device: Device) -> SignedOutEverywhere:
    """Ends all of one's sessions but this one. Tokens for programs stay."""
    ended = await sessions.sign_out_everywhere(kit, me.user_id, keep=me.session_id, client=device)
    return SignedOutEverywhere(ended=ended, api_tokens=await api_tokens.count(db, me.user_id, now=kit.clock.now()))


@router.get("/sessions")
async def list_sessions(me: CurrentUser, db: Db, clock: Now, paging: Paging) -> Page[SessionShown]:
    """Where one is signed in, the latest sign-in first."""
    rows = await sessions.running(db, me.user_id, before=paging.last, limit=paging.limit, now=clock.now())
    return paging.page([_shown(row, me.session_id) for row in rows], key=lambda shown: (shown.id,))


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_session(session_id: UUID, me: CurrentUser, kit: Tools, device: Device) -> None:
    """Signs one's other device out, or this one."""
    await sessions.end(kit, session_id, me.user_id, Ending("ended_by_owner", device))
