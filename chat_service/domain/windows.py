"""How a length of time is said."""

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def said(seconds: int) -> str:
    """In the largest unit that is exact: `5 minutes`, `1 hour`, `90 seconds`."""
    for size, name in _UNITS:
        if seconds >= size and seconds % size == 0:
            return _plural(seconds // size, name)
    return _plural(seconds, "second")


def _plural(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
