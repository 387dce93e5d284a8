"""Files before a message shows them."""

from pydantic import BaseModel

from chat_service.schemas.messages import File
from libs.shapes import Moment


class Upload(File):
    """A file of one's own. Unless a message shows it before `expires_at`, it is thrown away."""

    created_at: Moment
    expires_at: Moment


class Uploads(BaseModel):
    """`used_bytes` counts all files of one's own, also those that messages show."""

    results: list[Upload]
    next: str | None = None
    previous: str | None = None
    used_bytes: int
    quota_bytes: int
