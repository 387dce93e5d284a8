"""Reads the person a token is for in the statement that makes the token due."""

from collections.abc import Mapping
from typing import Any

from auth_service.domain.tokens import Holder

# Of `users AS u`. Who still has a password that somebody else chose can do with it what everybody can.
COLUMNS = """
    u.id AS user_id, u.number, u.first_name, u.last_name, u.created_at AS user_created_at,
    CASE WHEN u.must_change_password THEN ARRAY['user'] ELSE u.roles END AS roles,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'username') AS username,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email,
    (SELECT verified_at IS NOT NULL FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email_verified,
    EXISTS (SELECT FROM identifiers WHERE user_id = u.id AND verified_at IS NOT NULL) AS is_verified
"""


def read(row: Mapping[Any, Any]) -> Holder:
    return Holder(
        id=row["user_id"],
        number=row["number"],
        username=row["username"],
        email=row["email"],
        email_verified=bool(row["email_verified"]),
        is_verified=row["is_verified"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        roles=row["roles"],
        created_at=row["user_created_at"],
    )
