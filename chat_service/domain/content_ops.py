"""What a client can ask for about messages that are there already. The same rules as over HTTP."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from chat_service.domain import deletions, edits, forwards, pins, reactions, rights
from chat_service.domain.following import conversation_of
from chat_service.domain.requests import Handler, Request, flag_of, required_uuid, text_of, uuids_of
from chat_service.domain.targets import Actor
from chat_service.errors import invalid

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

_CHOICES = {"importance": ("normal", "important", "urgent"), "priority": ("low", "normal", "high")}


async def edit(session: "Session", request: Request) -> object:
    message_id = required_uuid(request.data, "message_id")
    wanted = _edit(request.data)
    context = session.context
    async with context.db.transaction() as db:
        message = await edits.edit(context, db, session.user_id, message_id, edit=wanted, now=context.clock.now())
    return {"version": message["version"], "edited_at": message["edited_at"]}


def _edit(data: dict[str, Any]) -> edits.Edit:
    """Raises Invalid."""
    fields: dict[str, str] = {}
    if "content" in data:
        fields["content"] = text_of(data, "content")
    for field, choices in _CHOICES.items():
        if field in data:
            if data[field] not in choices:
                raise invalid(field, f"This must be one of {', '.join(choices)}.")
            fields[field] = data[field]
    version = data.get("version")
    if version is not None and type(version) is not int:
        raise invalid("version", "This must be a number.")
    return edits.Edit(fields, version)


async def delete(session: "Session", request: Request) -> object:
    message_id = required_uuid(request.data, "message_id")
    for_whom = request.data.get("for", "everyone")
    if for_whom not in ("everyone", "me"):
        raise invalid("for", "This must be one of everyone, me.")
    hard = flag_of(request.data, "hard")
    context = session.context
    now = context.clock.now()
    async with context.db.transaction() as db:
        if for_whom == "me":
            await deletions.hide(db, context.hub, session.user_id, message_id, now=now)
        else:
            roles = session.claims.roles if session.claims else ()
            actor = Actor(session.user_id, rights.is_staff(roles))
            await deletions.delete(context, db, actor, message_id, hard=hard, now=now)
    return {}


async def react(session: "Session", request: Request) -> object:
    wanted = reactions.Reaction(
        required_uuid(request.data, "message_id"), text_of(request.data, "emoji"), on=request.op == "react"
    )
    context = session.context
    counted = await reactions.react(context, session.user_id, wanted, now=context.clock.now())
    return {"emoji": counted.emoji, "count": counted.count}


async def forward(session: "Session", request: Request) -> object:
    wanted = forwards.Wanted(
        required_uuid(request.data, "message_id"), uuids_of(request.data, "conversation_ids", most=forwards.MOST)
    )
    context = session.context
    outcomes = await forwards.forward(context, session.user_id, wanted, now=context.clock.now())
    return {"results": [_outcome(outcome) for outcome in outcomes]}


def _outcome(outcome: forwards.Outcome) -> dict[str, Any]:
    said: dict[str, Any] = {"conversation_id": outcome.conversation_id}
    if outcome.message is not None:
        return {**said, "id": outcome.message["id"], "seq": outcome.message["seq"]}
    return {**said, "code": outcome.refusal.code if outcome.refusal else None}


async def pin(session: "Session", request: Request) -> object:
    place = conversation_of(request.stream), required_uuid(request.data, "message_id")
    until = _moment(request.data, "expires_at")
    context = session.context
    async with context.db.transaction() as db:
        await pins.pin(context, db, session.user_id, place, until=until, now=context.clock.now())
    return {}


async def unpin(session: "Session", request: Request) -> object:
    place = conversation_of(request.stream), required_uuid(request.data, "message_id")
    context = session.context
    async with context.db.transaction() as db:
        await pins.unpin(context, db, session.user_id, place, now=context.clock.now())
    return {}


def _moment(data: dict[str, Any], field: str) -> datetime | None:
    """Raises Invalid."""
    value = data.get(field)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid(field, "This must be a time with its zone.")
    return moment


OPS: dict[str, Handler] = {
    "edit": edit,
    "delete": delete,
    "react": react,
    "unreact": react,
    "forward": forward,
    "pin": pin,
    "unpin": unpin,
}
