"""Saved messages."""

from chat_service.schemas.messages import Message
from libs.shapes import Moment, Resource


class Saved(Resource):
    message: Message
    saved_at: Moment
