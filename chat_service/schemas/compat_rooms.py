"""What the Rooms client sends and reads. Unknown keys of it are ignored."""

from typing import Literal

from pydantic import BaseModel

from libs.shapes import Moment


class RoomsConversationCreate(BaseModel):
    """`participants` are numbers of users; what is wrong with them is said in this client's own words."""

    participants: object = None


class RoomsPerson(BaseModel):
    """`email` is shown to oneself alone."""

    id: int
    username: str
    email: str | None
    first_name: str
    last_name: str


class RoomsMessage(BaseModel):
    """`id` is the number of the message in its conversation."""

    id: int
    sender_id: int
    sender: str | None
    content: str
    timestamp: Moment


class RoomsConversation(BaseModel):
    id: int
    participants: list[RoomsPerson]
    messages: list[RoomsMessage]
    created_at: Moment


class RoomsMessages(BaseModel):
    conversation_id: int
    messages: list[RoomsMessage]
    source: Literal["redis", "database"]
