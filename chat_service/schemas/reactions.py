"""Reactions to messages."""

from chat_service.schemas.people import Person
from libs.shapes import Moment, Resource


class Reaction(Resource):
    user: Person
    emoji: str
    created_at: Moment


class Count(Resource):
    """How many have reacted with the emoji."""

    emoji: str
    count: int
