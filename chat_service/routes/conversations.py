"""Conversations of the caller."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response

from chat_service.deps import Context, Hub, Outside, limited
from chat_service.domain import conversations, flags, frames, inbox, removal
from chat_service.schemas.conversations import Conversation, ConversationChange, ConversationCreate, Filters
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])


async def _change(
    body: ConversationChange,
    if_match: Annotated[str | None, Header(max_length=1000, description="The `ETag` that was read.")] = None,
) -> flags.Change:
    return flags.Change(body.flags(), body.version, if_match)


RequestedChange = Annotated[flags.Change, Depends(_change)]


@router.post(
    "",
    status_code=201,
    dependencies=[limited("start")],
    responses={
        200: {"model": Conversation, "description": "The one that is there."},
        403: {"description": "`interest_required`: this person takes direct messages from contacts alone."},
    },
)
async def create_conversation(
    body: ConversationCreate,
    me: CurrentUser,
    db: Db,
    clock: Now,
    *,
    once: OnceOnly,
    outside: Outside,
    response: Response,
) -> Conversation:
    """Starts a conversation. Two people have one direct conversation: starting it again gives it back, with 200."""

    async def make() -> Conversation:
        new = conversations.New(body.conversation_type, body.participants, body.flags())
        made, is_new = await conversations.create(db, outside.hub, me.user_id, new, ask=outside.ask, now=clock.now())
        response.status_code = 201 if is_new else 200
        return Conversation.model_validate(made)

    return await once(body, make, Conversation)


@router.get("", response_model=Page[Conversation])
async def list_conversations(
    me: CurrentUser,
    context: Context,
    *,
    paging: Annotated[PageRequest, keyset(datetime, int)],
    given: Annotated[Filters, Query()],
) -> Response:
    """One's own conversations, newest activity first, filtered."""
    filters = inbox.Filters(
        conversation_type=given.conversation_type,
        status=given.status,
        is_active=given.is_active,
        since=given.created_at__gte,
        until=given.created_at__lte,
        on=given.created_at__date,
        active_since=given.last_message_at__gte,
        active_until=given.last_message_at__lte,
    )
    rows = await inbox.listed(context.lanes, me.user_id, limit=paging.limit + 1, after=paging.key, filters=filters)
    page = paging.page(rows, inbox.key)
    # Checking twenty conversations with all that is in them costs more than reading them.
    body = frames.dump({"results": page.results, "next": page.next, "previous": None})
    return Response(body, media_type="application/json")


@router.get("/{conversation_id}")
async def read_conversation(conversation_id: UUID, me: CurrentUser, db: Db, response: Response) -> Conversation:
    """One conversation. The `ETag` names the version of its name and description."""
    found = Conversation.model_validate(await conversations.read(db, me.user_id, conversation_id))
    response.headers["ETag"] = flags.etag(found.version)
    return found


@router.delete("/{conversation_id}", status_code=204, responses={403: {"description": "Not the owner or an admin."}})
async def delete_conversation(conversation_id: UUID, me: CurrentUser, db: Db, *, clock: Now, hub: Hub) -> None:
    """Ends a group or channel for everybody in it, for good; for the owner and admins."""
    await removal.remove(db, hub, me.user_id, conversation_id, now=clock.now())


@router.patch(
    "/{conversation_id}",
    responses={
        403: {"description": "Not the owner or an admin."},
        409: {"description": "`version` is not the newest."},
        412: {"description": "`If-Match` is not the newest."},
    },
)
async def change_conversation(
    conversation_id: UUID, change: RequestedChange, me: CurrentUser, db: Db, *, clock: Now, hub: Hub, response: Response
) -> Conversation:
    """Changes what is sent; for the owner and admins. Nobody writes while `status` is not `active`."""
    changed = await flags.change(db, hub, me.user_id, conversation_id, change=change, now=clock.now())
    response.headers["ETag"] = flags.etag(changed["version"])
    return Conversation.model_validate(changed)
