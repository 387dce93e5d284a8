"""Conversations of the caller."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response

from chat_service.deps import AskAuth, Hub
from chat_service.domain import conversations
from chat_service.schemas import Conversation, ConversationChange, ConversationCreate
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])


async def _change(
    body: ConversationChange,
    if_match: Annotated[str | None, Header(max_length=1000, description="The `ETag` that was read.")] = None,
) -> conversations.Change:
    return conversations.Change(body.changes(), body.version, if_match)


RequestedChange = Annotated[conversations.Change, Depends(_change)]


@router.post("", status_code=201, responses={200: {"model": Conversation, "description": "The one that is there."}})
async def create_conversation(
    body: ConversationCreate, me: CurrentUser, db: Db, clock: Now, *, hub: Hub, ask: AskAuth, response: Response
) -> Conversation:
    """Starts a conversation. Two people have one direct conversation: starting it again gives it back, with 200."""
    new = conversations.New(body.conversation_type, body.participants, body.name, body.description)
    made, is_new = await conversations.create(db, hub, me.user_id, new, ask=ask, now=clock.now())
    response.status_code = 201 if is_new else 200
    return Conversation.model_validate(made)


@router.get("")
async def list_conversations(
    me: CurrentUser, db: Db, paging: Annotated[PageRequest, keyset(int, int)]
) -> Page[Conversation]:
    """One's own conversations, newest activity first."""
    before = (int(paging.after[0]), int(paging.after[1])) if paging.after else None
    rows = await conversations.listed(db, me.user_id, limit=paging.limit + 1, before=before)
    page = paging.page(rows, lambda row: row[1])
    results = [Conversation.model_validate(row[0]) for row in page.results]
    return Page[Conversation](results=results, next=page.next)


@router.get("/{conversation_id}")
async def read_conversation(conversation_id: UUID, me: CurrentUser, db: Db, response: Response) -> Conversation:
    """One conversation. The `ETag` names the version of its name and description."""
    found = Conversation.model_validate(await conversations.read(db, me.user_id, conversation_id))
    response.headers["ETag"] = conversations.etag(found.version)
    return found


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
    """Changes name and description; for the owner and admins."""
    changed = await conversations.change(db, hub, me.user_id, conversation_id, change=change, now=clock.now())
    response.headers["ETag"] = conversations.etag(changed["version"])
    return Conversation.model_validate(changed)
