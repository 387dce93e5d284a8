"""Messages."""

from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from chat_service.deps import Context
from chat_service.domain import anchors, drafts, frames, messages, overview, recent, visibility
from chat_service.errors import invalid
from chat_service.schemas.messages import Edges, MessageCreate
from chat_service.schemas.overview import MessagePage, SeenMessage
from libs.auth import CurrentUser
from libs.deps import Db
from libs.idempotency import Key
from libs.paging import PageRequest, keyset

router = APIRouter(prefix="/api/v1", tags=["messages"])


class Where(NamedTuple):
    side: messages.Around
    message_id: UUID | None = None
    first_unread: bool = False


_NEWEST = Where(messages.NEWEST)


async def _where(
    paging: Annotated[PageRequest, keyset(int)],
    edges: Annotated[Edges, Query()],
    around_id: Annotated[UUID | None, Query(description="A message to be in the middle.")] = None,
    anchor: Annotated[
        Literal["first_unread"] | None, Query(description="The middle is the first message that is not read.")
    ] = None,
) -> Where:
    side = messages.Around.of(paging.after, **edges.model_dump())
    if (side != messages.NEWEST) + (around_id is not None) + (anchor is not None) > 1:
        raise invalid("cursor", "Only one of cursor, before, after, around, around_id and anchor can be given.")
    return Where(side, around_id, anchor is not None)


async def _anchor(db: Db, sight: visibility.Sight, where: Where) -> int | None:
    if where.message_id is not None:
        return await anchors.of_message(db, sight, where.message_id)
    return await anchors.first_unread(db, sight) if where.first_unread else None


@router.post("/conversations/{conversation_id}/messages", status_code=201)
async def send_message(
    conversation_id: UUID, body: MessageCreate, me: CurrentUser, context: Context, *, key: Key = None
) -> SeenMessage:
    """Stores a message and sends it to everybody's sockets. It is stored for good when the answer comes."""
    client_msg_id = body.client_msg_id or messages.id_of_key(me.user_id, key)
    draft = messages.Text(body.content, client_msg_id, body.reply_to, drafts.extras_of(body.carried()))
    return SeenMessage.model_validate(await overview.send(context, me.user_id, conversation_id, draft))


@router.get("/conversations/{conversation_id}/messages", response_model=MessagePage)
async def list_messages(
    conversation_id: UUID,
    me: CurrentUser,
    db: Db,
    context: Context,
    *,
    paging: Annotated[PageRequest, keyset(int)],
    where: Annotated[Where, Depends(_where)],
    threads: Annotated[bool, Query(description="With replies that are shown in their threads alone.")] = False,
) -> MessagePage | Response:
    """Messages, newest first: the newest, or those before, after or on both sides of a `seq`.

    Replies in threads are left out unless they are shown in the conversation as well, so there may be holes between
    the numbers; `threads=true` gives everything.

    `next` leads to older ones, `previous` to newer ones. At most one of `cursor`, `before`, `after`, `around`,
    `around_id` and `anchor`.
    """
    if where == _NEWEST and not threads:
        found_page = await context.recent.page(me.user_id, conversation_id, paging.limit)
        return await _as_it_is(context, me.user_id, found_page, f"{paging.path}?limit={paging.limit}")
    sight = await visibility.sight(db, me.user_id, conversation_id)
    line = messages.EVERYTHING if threads else messages.CONVERSATION
    seq = await _anchor(db, sight, where)
    side = where.side if seq is None else messages.Around(around=seq)
    found = await messages.page(db, sight, side, paging.limit, line=line)
    seen = await overview.seen_by(context, me.user_id, found.rows)
    results = [SeenMessage.model_validate(row) for row in seen]
    path = f"{paging.path}?limit={paging.limit}" + ("&threads=true" if threads else "")
    return MessagePage(
        results=results,
        next=f"{path}&before={results[-1].seq}" if found.older else None,
        previous=f"{path}&after={results[0].seq}" if found.newer else None,
        anchor=seq,
    )


async def _as_it_is(context: Context, me: UUID, found: recent.Page, path: str) -> Response:
    """A page whose messages need no check."""
    shown = await overview.seen_by(context, me, [frames.load(line) for line in found.lines])
    older = f"{path}&before={shown[-1]['seq']}" if found.older and shown else None
    body = frames.dump({"results": shown, "next": older, "previous": None, "anchor": None})
    return Response(body, media_type="application/json")
