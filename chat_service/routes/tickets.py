"""Tickets for sockets."""

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import tickets
from chat_service.schemas.tickets import Ticket
from libs import api_tokens
from libs.auth import CurrentUser

router = APIRouter(prefix="/api/v1/ws-tickets", tags=["sockets"])


@router.post("", status_code=201)
async def create_ticket(me: CurrentUser, context: Context) -> Ticket:
    """A ticket that opens one socket within 30 seconds, for a browser that cannot set headers on a handshake."""
    if me.scopes is not None:
        api_tokens.require_both(me.scopes, "chat")
    return Ticket(ticket=await tickets.issue(context.redis, me.claims), expires_in=tickets.SECONDS)
