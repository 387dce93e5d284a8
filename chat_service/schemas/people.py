"""People as chat shows them."""

from uuid import UUID

from libs.shapes import Resource


class Person(Resource):
    """`username` and `display_name` are null for somebody whose profile has not arrived yet."""

    id: UUID
    username: str | None
    display_name: str | None
    avatar_url: str | None
