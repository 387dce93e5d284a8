"""Bringing accounts along from elsewhere."""

from typing import Annotated

from fastapi import APIRouter, Depends

from auth_service.deps import ConfirmedAnd, Tools
from auth_service.domain import imports
from auth_service.domain.imports import Outcome
from auth_service.domain.roles import Staff
from auth_service.schemas.imports import ImportResult, RowResult, UserImport, read_row
from libs.deps import Db
from libs.errors import Invalid

router = APIRouter(prefix="/api/v1/admin/auth", tags=["admin"])


@router.post("/users/import")
async def import_users(
    body: UserImport, staff: Annotated[Staff, Depends(ConfirmedAnd("users.import"))], db: Db, kit: Tools
) -> ImportResult:
    """Makes accounts with the password hashes (argon2, bcrypt) that they had elsewhere, at most 500 at a time.

    Each row has a result. Who exists already is reported and left alone.
    """
    results = []
    for number, raw in enumerate(body.users):
        row = read_row(raw)
        if isinstance(row, Invalid):
            outcome = Outcome("refused", errors=row.errors)
        else:
            outcome = await imports.add(db, kit, row, staff=staff)
        results.append(RowResult.of(number, outcome))
    return ImportResult.of(results)
