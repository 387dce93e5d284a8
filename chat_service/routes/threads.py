"""Threads: the replies to one message."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from chat_service.deps import Context
from chat_service.domain import messages, threads
from chat_service.schemas.messages import Edges, Message
from chat_service.schemas.threads import ListedThread, Replies, ThreadRead, ThreadState
from libs.auth import CurrentUser
from libs.deps import Db
from libs.paging import Page, PageRequest, keyset

router = APIRouter(prefix="/api/v1", tags=["threads"])
Listing = Annotated[PageRequest, keyset(datetime, UUID)]


@router.get("/messages/threads")
async def list_followed_threads(me: CurrentUser, db: Db, paging: Listing) -> Page[ListedThread]:
    """The threads that the caller follows, in all conversations, the last replied to first."""
    return _page(paging, await threads.followed(db, me.user_id, limit=paging.limit + 1, before=paging.key))


@router.get("/conversations/{conversation_id}/threads")
async def list_threads(conversation_id: UUID, me: CurrentUser, db: Db, paging: Listing) -> Page[ListedThread]:
    """All threads of a conversation, followed or not, the last replied to first."""
    rows = await threads.of_conversation(db, me.user_id, conversation_id, limit=paging.limit + 1, before=paging.key)
    return _page(paging, rows)


@router.get("/messages/{message_id}/thread")
async def read_thread(
    message_id: UUID,
    me: CurrentUser,
    db: Db,
    *,
    paging: Annotated[PageRequest, keyset(int)],
    edges: Annotated[Edges, Query()],
) -> Replies:
    """The replies to a message, newest first, and what the thread is to the caller. `before`, `after` and `around` are
    numbers in the thread (`thread.seq` of a reply). The message may be any reply as well: it stands for its thread."""
    where = messages.Around.of(paging.after, **edges.model_dump())
    state = await threads.state(db, me.user_id, message_id)
    root, found = await threads.replies(db, me.user_id, state, where, limit=paging.limit)
    results = [Message.model_validate(row) for row in found.rows]
    path = f"{paging.path}?limit={paging.limit}"
    return Replies(
        root=Message.model_validate(root),
        state=ThreadState.model_validate(state),
        results=results,
        next=f"{path}&before={found.rows[-1]['thread']['seq']}" if found.older else None,
        previous=f"{path}&after={found.rows[0]['thread']['seq']}" if found.newer else None,
    )


@router.put("/messages/{message_id}/thread/follow")
async def follow_thread(message_id: UUID, me: CurrentUser, context: Context) -> ThreadState:
    """Follows the thread: its new replies are counted, and told to the caller. What is there already is read."""
    return ThreadState.model_validate(await threads.follow(context, me.user_id, message_id, on=True))


@router.delete("/messages/{message_id}/thread/follow")
async def unfollow_thread(message_id: UUID, me: CurrentUser, context: Context) -> ThreadState:
    """Follows the thread no more, until the caller replies in it or is named in it again."""
    return ThreadState.model_validate(await threads.follow(context, me.user_id, message_id, on=False))


@router.post("/messages/{message_id}/thread/read")
async def mark_thread_read(message_id: UUID, body: ThreadRead, me: CurrentUser, context: Context) -> ThreadState:
    """Says how far the caller has read in the thread. The mark never moves back, nor beyond the last reply."""
    return ThreadState.model_validate(await threads.read(context, me.user_id, message_id, seq=body.seq))


def _page(paging: PageRequest, rows: list[dict[str, Any]]) -> Page[ListedThread]:
    page = paging.page(rows, lambda row: (row["root"]["thread"]["last_reply_at"], row["root_id"]))
    return Page[ListedThread](results=[ListedThread.model_validate(row) for row in page.results], next=page.next)
