"""What is said to the server beside an event stream."""

from typing import Annotated, Any

from pydantic import Field

from libs.shapes import Body


class Frames(Body):
    """Frames as a socket would carry them, in their order."""

    frames: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=32)]
