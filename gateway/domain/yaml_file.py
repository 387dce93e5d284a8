"""A YAML file as plain mappings, lists, texts, numbers and truths, and the line of each.

A smaller language than YAML: no tags, no anchors, no key twice, and only what can be meant (`NO` is Norway, not false).
Nothing is ever built but these types.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
_MOST_BYTES = 1 << 20
_ENTRY = 2  # as `routes`, `/ws`
_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
_CORE_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Unreadable(ValueError):
    """With the line, where there is one."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")


@dataclass(frozen=True, slots=True)
class Document:
    content: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)

    def line_of(self, place: Place) -> int | None:
        """Of the innermost part of the place that stands in the file; None where not even the entry does."""
        while len(place) > _ENTRY and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read(path: Path) -> Document:
    """Raises Unreadable."""
    try:
        if not path.is_file():
            raise Unreadable("there is no such file")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise Unreadable("it is longer than 1 MiB")
    lines: dict[Place, int] = {}
    content = _Values(lines).of(_root(data), ())
    if not isinstance(content, dict):
        raise Unreadable("it must be a mapping, as `version: 1`")
    return Document(content, lines)


def _root(data: bytes) -> yaml.Node | None:
    try:
        # Only the tree: the loader's part that builds objects has no turn.
        return yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise Unreadable("it is not UTF-8") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(error.problem or "it is no YAML", mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise Unreadable(str(error).partition("\n")[0]) from error


class _Values:
    def __init__(self, lines: dict[Place, int]) -> None:
        self._lines = lines
        self._seen: set[int] = set()

    def of(self, node: yaml.Node | None, place: Place) -> Any:
        if node is None:
            return None
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        if id(node) in self._seen:
            raise Unreadable("anchors are not used here; write it out", line)
        self._seen.add(id(node))
        if node.tag not in _CORE_TAGS:
            raise Unreadable("tags are not used here", line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style is not None else _plain(node.value)
        return [self.of(each, (*place, at)) for at, each in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise Unreadable("a key must be a word", line)
            if key.value in found:
                raise Unreadable(f"{key.value} stands here a second time", line)
            self._lines[*place, key.value] = line
            found[key.value] = self.of(value, (*place, key.value))
        return found


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _NUMBER.fullmatch(text) else text
