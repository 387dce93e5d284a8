"""The calls of the Rooms client, below `/api/chat`."""

from fastapi import APIRouter

from chat_service.deps import AskNumbers, Context, Outside, limited
from chat_service.domain import compat_rooms as rooms
from chat_service.errors import invalid
from chat_service.schemas.compat_rooms import RoomsConversation, RoomsConversationCreate, RoomsMessages
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/chat/conversations", tags=["Rooms"])


@router.post("", include_in_schema=False, status_code=201, dependencies=[limited("start")])
@router.post("/", status_code=201, dependencies=[limited("start")])
async def create_conversation_rooms(
    body: RoomsConversationCreate, me: CurrentUser, db: Db, clock: Now, *, outside: Outside, ask: AskNumbers
) -> RoomsConversation:
    """A conversation with the people of these numbers. Two people have one, which is given again."""
    if "participants" not in body.model_fields_set:
        raise invalid("participants", "This field is required.")
    named = await rooms.people(db, rooms.numbers_in(body.participants), ask)
    made = await rooms.create(db, outside.hub, me.user_id, named, ask=outside.ask, now=clock.now())
    return RoomsConversation.model_validate(made)


@router.get("", include_in_schema=False)
@router.get("/")
async def list_conversations_rooms(me: CurrentUser, db: Db, context: Context) -> list[RoomsConversation]:
    """One's own conversations, newest activity first, each with its last message."""
    return [RoomsConversation.model_validate(each) for each in await rooms.listed(db, context.lanes, me.user_id)]


@router.get("/{number}", include_in_schema=False)
@router.get("/{number}/")
async def read_conversation_rooms(number: str, me: CurrentUser, db: Db, context: Context) -> RoomsConversation:
    """One conversation with its last 100 messages, oldest first."""
    return RoomsConversation.model_validate(await rooms.read(db, context.recent, me.user_id, rooms.number_in(number)))


@router.get("/{number}/messages", include_in_schema=False)
@router.get("/{number}/messages/")
async def list_messages_rooms(number: str, me: CurrentUser, db: Db, context: Context) -> RoomsMessages:
    """The last 100 messages, oldest first, and whether they came from the cache."""
    wanted = rooms.number_in(number)
    messages, source = await rooms.messages_of(db, context.recent, me.user_id, wanted)
    return RoomsMessages.model_validate({"conversation_id": wanted, "messages": messages, "source": source})
