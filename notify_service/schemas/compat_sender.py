"""What the Sender client sends and reads. Unknown keys of it are ignored."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from libs.shapes import Text


class GivenMail(BaseModel):
    to: Annotated[Text | None, Field(max_length=4096)] = None
    subject: Annotated[Text | None, Field(max_length=4096)] = None
    message: Annotated[Text | None, Field(max_length=65_536)] = None


class GivenWhatsApp(BaseModel):
    to: Annotated[Text | None, Field(max_length=4096)] = None
    message_type: Annotated[Text, Field(max_length=4096)] = "text"
    message: Annotated[Text | None, Field(max_length=65_536)] = None


class Queued(BaseModel):
    message: str
    task_id: UUID


class SenderQueued(BaseModel):
    """Accepted and stored; what becomes of it is in the list of deliveries."""

    success: Literal[True] = True
    data: Queued
