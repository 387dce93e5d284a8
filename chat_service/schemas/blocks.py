"""Blocks."""

from chat_service.schemas.people import Person
from libs.shapes import Moment, Resource


class Block(Resource):
    user: Person
    created_at: Moment
