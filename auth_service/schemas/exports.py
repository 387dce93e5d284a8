"""Copies of what is known of somebody."""

from typing import Any, Literal
from uuid import UUID

from pydantic import RootModel

from libs.shapes import Moment, Resource


class ExportShown(Resource):
    id: UUID
    state: Literal["waiting", "ready", "failed"]
    requested_at: Moment
    ready_at: Moment | None
    expires_at: Moment


class ExportDocument(RootModel[dict[str, Any]]):
    """Section by section, each a list: `profile`, `identifiers`, `identities`, `sessions`, `devices`, factors,
    `api_tokens`, `usage`, `location`, `presence`, `contacts`, `blocks`, `audit`. Without any secret."""
