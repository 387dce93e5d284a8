from pydantic import BaseModel, Field

from libs.paging import Page
from libs.shapes import Moment, Resource


class Template(Resource):
    """`header`, `body` and `buttons` say what has to be filled in: a kind, how many values, and the places of buttons.
    `beyond`: what it needs that cannot be given here."""

    name: str
    language: str
    status: str = Field(description="In the provider's words; only `APPROVED` can be sent.")
    category: str
    header: str | None
    body: int
    buttons: list[int]
    beyond: str | None
    updated_at: Moment


class Templates(Page[Template]):
    """`synced_at`: when the provider was asked last; null: never yet. `fault`: why the last try has failed."""

    synced_at: Moment | None
    fault: str | None


class Asked(BaseModel):
    account: str
