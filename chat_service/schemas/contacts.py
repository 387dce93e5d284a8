"""Contacts."""

from uuid import UUID

from chat_service.schemas.people import Person
from libs.shapes import Moment, Resource


class Contact(Resource):
    """Deleting the request `interest_id` ends it."""

    user: Person
    since: Moment
    interest_id: UUID
    conversation_id: UUID | None
