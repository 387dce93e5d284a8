"""How the routes of existing clients say in their own words what the rules refuse."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from libs.errors import ServiceError

Words = Mapping[type[ServiceError], Callable[[Any], ServiceError]]


@contextmanager
def saying(words: Words) -> Iterator[None]:
    """Replaces an error by what the first matching entry makes of it."""
    try:
        yield
    except ServiceError as error:
        for kind, say in words.items():
            if isinstance(error, kind):
                raise say(error) from error
        raise
