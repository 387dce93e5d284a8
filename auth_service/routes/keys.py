"""Public keys."""

from typing import Annotated

from fastapi import APIRouter, Header, Response, status

from auth_service.deps import Ring
from auth_service.domain import keys

router = APIRouter(tags=["keys"])


_KEY_SET = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
}


class KeySetResponse(Response):
    media_type = "application/jwk-set+json"


@router.get(
    "/.well-known/jwks.json",
    response_class=KeySetResponse,
    responses={
        200: {"content": {KeySetResponse.media_type: {"schema": _KEY_SET}}},
        304: {"description": "Nothing has changed."},
    },
)
async def read_keys(ring: Ring, if_none_match: Annotated[str | None, Header(max_length=1000)] = None) -> Response:
    """The keys that access tokens are checked with (RFC 7517). Empty where they are signed with a shared secret."""
    found = keys.published(ring)
    headers = {"ETag": found.etag, "Cache-Control": "public, max-age=300"}
    if if_none_match is not None and found.etag in if_none_match:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return KeySetResponse(found.body, headers=headers)
