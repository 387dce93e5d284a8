from typing import Any
from uuid import UUID

from libs.shapes import Moment, Resource


class Message(Resource):
    """What somebody wrote. `at` is by the provider's clock; `data` is what else it says, as `choice` (the id of a
    button that was pressed), `reply_to` or `location`."""

    id: UUID
    provider_id: str
    text: str | None
    data: dict[str, Any]
    at: Moment
    received_at: Moment
