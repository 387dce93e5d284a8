"""Answering messages and passing them on."""

from uuid import UUID

from fastapi import APIRouter

from chat_service.deps import Context
from chat_service.domain import drafts, forwards, messages, overview
from chat_service.errors import invalid
from chat_service.schemas.forwards import Forward, Forwarded, Outcome
from chat_service.schemas.messages import Elsewhere, Message, Reply
from chat_service.schemas.overview import SeenMessage
from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.idempotency import Key

router = APIRouter(prefix="/api/v1/messages", tags=["messages"])


@router.post("", status_code=201)
async def send_message_to(body: Elsewhere, me: CurrentUser, context: Context, *, key: Key = None) -> SeenMessage:
    """Stores a message in the conversation that it names."""
    client_msg_id = body.client_msg_id or messages.id_of_key(me.user_id, key)
    draft = messages.Text(body.content, client_msg_id, body.reply_to, drafts.extras_of(body.carried()))
    return SeenMessage.model_validate(await overview.send(context, me.user_id, body.conversation, draft))


@router.post("/{message_id}/reply", status_code=201)
async def reply_to_message(
    message_id: UUID, body: Reply, me: CurrentUser, db: Db, *, context: Context, key: Key = None
) -> SeenMessage:
    """Answers a message, in its conversation, with a quote of it. A thread begins with `thread_root_id` alone."""
    if not (body.content.strip() or body.attachments):
        raise invalid("content", "Content is required")
    if body.reply_to not in (None, message_id):
        raise invalid("reply_to", "The address says what is replied to.")
    quoted = await messages.read(db, me.user_id, message_id)
    client_msg_id = body.client_msg_id or messages.id_of_key(me.user_id, key)
    draft = messages.Text(body.content, client_msg_id, message_id, drafts.extras_of(body.carried()))
    return SeenMessage.model_validate(await overview.send(context, me.user_id, UUID(quoted["conversation_id"]), draft))


@router.post(
    "/{message_id}/forward",
    status_code=201,
    responses={
        403: {"description": "The one conversation takes nothing from the caller."},
        409: {"description": "The message is deleted, or one's room for files is used up."},
    },
)
async def forward_message(
    message_id: UUID, body: Forward, me: CurrentUser, *, context: Context, clock: Now, key: Key = None
) -> SeenMessage | Forwarded:
    """Passes a message on, as it is now: what becomes of it later changes nothing.

    With `conversation_id` the answer is the message; with `conversation_ids` one outcome for each.
    """
    if (body.conversation_id is None) == (body.conversation_ids is None):
        raise invalid("conversation_id", "conversation_id is required")
    if body.conversation_ids is not None:
        wanted = forwards.Wanted(message_id, body.conversation_ids, key=key)
        outcomes = await forwards.forward(context, me.user_id, wanted, now=clock.now())
        return Forwarded(results=[_shape(outcome) for outcome in outcomes])
    one = [body.conversation_id] if body.conversation_id else []
    wanted = forwards.Wanted(message_id, one, in_words=True, key=key)
    (outcome,) = await forwards.forward(context, me.user_id, wanted, now=clock.now())
    if outcome.refusal is not None:
        raise outcome.refusal
    assert outcome.message is not None  # noqa: S101  -- what is not refused was sent
    return SeenMessage.model_validate(await overview.one_seen_by(context, me.user_id, outcome.message))


def _shape(outcome: forwards.Outcome) -> Outcome:
    message = Message.model_validate(outcome.message) if outcome.message is not None else None
    code = outcome.refusal.code if outcome.refusal else None
    return Outcome(conversation_id=outcome.conversation_id, message=message, code=code)
