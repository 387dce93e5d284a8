"""Threads."""

from uuid import UUID

from pydantic import Field

from chat_service.schemas.fields import Seq
from chat_service.schemas.messages import Message
from libs.paging import Page
from libs.shapes import Body, Resource


class ThreadState(Resource):
    """What a thread is to the caller. `last_seq` and `last_read_seq` count the replies of the thread: 1, 2, 3 ..."""

    root_id: UUID
    conversation_id: UUID
    last_seq: int
    following: bool
    last_read_seq: int
    unread_count: int


class ListedThread(ThreadState):
    root: Message = Field(description="The message that the thread began with.")


class Replies(Page[Message]):
    """A page of a thread."""

    root: Message
    state: ThreadState


class ThreadRead(Body):
    seq: Seq = Field(description="The number in the thread of the last reply that was read.")
