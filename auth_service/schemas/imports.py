"""Accounts from elsewhere."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from auth_service.domain.imports import Imported, Outcome
from auth_service.schemas.fields import Login, Name
from libs.errors import FieldError, Invalid
from libs.shapes import Body, Text


class ImportRow(Body):
    """One account. The hash is kept as it is, and replaced by one of today's form at the first sign-in."""

    username: Login | None = None
    email: Login | None = None
    phone_number: Login | None = None
    password_hash: Annotated[Text, Field(max_length=500)] | None = None
    email_verified: bool = False
    phone_verified: bool = False
    first_name: Name = ""
    last_name: Name = ""


class UserImport(Body):
    """Each row is judged by itself; their shape is that of `ImportRow`."""

    users: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, max_length=500, examples=[[{"email": "ada@example.com", "email_verified": True}]]),
    ]


class RowError(BaseModel):
    field: str
    message: str


class RowResult(BaseModel):
    """What became of a row, with the status that it would have had as a request: 201, 409 or 422."""

    row: int
    status: Literal[201, 409, 422]
    id: UUID | None
    errors: list[RowError]

    @classmethod
    def of(cls, row: int, outcome: Outcome) -> Self:
        statuses: dict[str, Literal[201, 409, 422]] = {"created": 201, "duplicate": 409, "refused": 422}
        errors = [RowError(field=error.field, message=error.message) for error in outcome.errors]
        return cls(row=row, status=statuses[outcome.status], id=outcome.user_id, errors=errors)


class ImportResult(BaseModel):
    created: int
    duplicates: int
    refused: int
    results: list[RowResult]

    @classmethod
    def of(cls, results: Sequence[RowResult]) -> Self:
        counts = {status: sum(each.status == status for each in results) for status in (201, 409, 422)}
        return cls(created=counts[201], duplicates=counts[409], refused=counts[422], results=list(results))


def read_row(row: object) -> Imported | Invalid:
    """The row, or why it is none."""
    try:
        return Imported(**ImportRow.model_validate(row).model_dump())
    except ValidationError as error:
        return Invalid(errors=[FieldError(_place(each["loc"]), each["msg"]) for each in error.errors()])


def read_line(line: str) -> Imported | Invalid:
    try:
        return read_row(json.loads(line))
    except (ValueError, RecursionError):
        return Invalid(errors=[FieldError("line", "This is not JSON.")])


def _place(location: Sequence[object]) -> str:
    return ".".join(str(part)[:100] for part in location) or "row"
