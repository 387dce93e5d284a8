"""What browsers and phones show of our own messages."""

from collections.abc import Mapping
from typing import Any

from notify_service.domain.channels import CannotRender
from notify_service.domain.content import Content
from notify_service.domain.templates import kinds

# What people write goes in as a value: braces of theirs are braces.
_MESSAGE = Content(subject="{{title}}", text="{{text}}")
_SHOWN = frozenset({"mention", "message"})


def content_of(kind: str, variables: Mapping[str, Any]) -> Content:
    """Of a message of chat, with the `data` that its variables have; those of one conversation take each other's place.
    Raises CannotRender."""
    if kind not in _SHOWN:
        raise CannotRender("unknown_template")
    given = dict(variables)
    data = given.pop("data")
    told = kinds.checked(kind, given, None)
    where = f" \u00b7 {told['conversation']}" if told["conversation"] else ""
    said = _MESSAGE.filled({"title": f"{told['sender']}{where}", "text": told["excerpt"]})
    return said.model_copy(update={"data": data, "collapse": data["conversation_id"].replace("-", "")})
