"""Files of recipients: comma-separated values (RFC 4180), as spreadsheets and programs write them.

They are read a line at a time, so their length costs no memory. A line that is wrong is a problem of that line. A quote
that is opened and not closed takes the lines behind it along, and nobody knows how many recipients it hides: such a
file is refused.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, TextIO

from libs.errors import FieldError
from notify_service.domain.content import NAME
from notify_service.domain.recipients import UNREADABLE, Given, Recipient, problem
from notify_service.errors import UnusableFile

ADDRESS = frozenset({"address", "email", "e_mail", "phone", "phone_number", "recipient"})
MOST_COLUMNS = 50
"""Variables of an audience."""
_SEPARATORS = ",;\t"
# What the parser of the standard library takes for one value. Here it is as much as all of a row may have.
_MOST_CHARACTERS = 131_072
_MOST_OF_ADDRESS = 4096
_MOST_OF_VALUE = 10_000
_BETWEEN_WORDS = re.compile(r"[\s-]+")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF_8 = "Save the file as UTF-8."


class Table:
    """A file with its header understood. Raises UnusableFile.

    `columns` are the names of its variables, in their order. `line` is the last line that was read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        if file.read(2) in _UTF_16:
            raise _unusable(1, _NOT_UTF_8)
        file.seek(0)
        # Bytes that are not UTF-8 become what `UNREADABLE` finds: a problem of their line, not of the file.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._lines = _Lines(text)
        header, separator = _header(text.readline(_MOST_CHARACTERS))
        self._reader = csv.reader(self._lines, delimiter=separator, strict=True)
        self._names = header
        self._place = next(place for place, name in enumerate(header) if name in ADDRESS)
        self.columns = [name for name in header if name not in ADDRESS]

    @property
    def line(self) -> int:
        return self._lines.number

    def rows(self) -> Iterator[Given]:
        """Each row but empty lines. Raises UnusableFile."""
        while True:
            first = self._lines.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except (csv.Error, _TooLong) as error:
                if self._lines.number > first:
                    raise _unusable(first, "The quotes that begin in this line do not match.") from None
                if isinstance(error, _TooLong):
                    yield problem(first, "line", "", code="too_long", message=str(error))
                else:
                    yield problem(first, "line", "", code="quotes", message="The quotes of this line do not match.")
            else:
                if cells:
                    yield self._row(first, cells)

    def _row(self, line: int, cells: list[str]) -> Given:
        if len(cells) != len(self._names):
            message = f"There are {len(cells)} values, and {len(self._names)} names in the header."
            return problem(line, "line", "", code="columns", message=message)
        whole = "".join(cells)
        if len(whole) > _MOST_OF_ADDRESS or UNREADABLE.search(whole):
            for name, cell in zip(self._names, cells, strict=True):
                if wrong := _wrong(name, cell):
                    return problem(line, "address" if name in ADDRESS else name, cell, code=wrong[0], message=wrong[1])
        address = cells[self._place].strip()
        if not address:
            return problem(line, "address", "", code="missing", message="The address is missing.")
        # A cell that was left empty is a variable that is missing, not one that says nothing.
        variables = {
            name: cell for name, cell in zip(self._names, cells, strict=True) if name not in ADDRESS and cell.strip()
        }
        return Recipient(line, address, variables)


class _TooLong(Exception):
    def __init__(self) -> None:
        super().__init__(f"A row has at most {_MOST_CHARACTERS} characters.")


class _Lines:
    """For the parser, which takes as many as a row goes over. The header was the first."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._taken = 0
        self.number = 1

    def begin(self) -> int:
        """Of a row; returns the number of its first line."""
        self._taken = 0
        return self.number + 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(_MOST_CHARACTERS)
        if not line:
            raise StopIteration
        self.number += 1
        self._taken += len(line)
        if self._taken >= _MOST_CHARACTERS:
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(_MOST_CHARACTERS)
            raise _TooLong
        return line


def _header(line: str) -> tuple[Sequence[str], str]:
    """The names in it, and what separates them. Raises UnusableFile."""
    if UNREADABLE.search(line):
        raise _unusable(1, _NOT_UTF_8)
    try:
        # The separator that separates most.
        cells, separator = max(
            ((next(csv.reader([line], delimiter=each)), each) for each in _SEPARATORS), key=lambda found: len(found[0])
        )
    except (csv.Error, StopIteration):
        raise _unusable(1, "The first line has the names of the columns.") from None
    names = [_BETWEEN_WORDS.sub("_", cell.strip().lower()) for cell in cells]
    if sum(name in ADDRESS for name in names) != 1:
        raise _unusable(1, "The first line names the columns; one of them is address, email, phone or recipient.")
    for number, name in enumerate(names, 1):
        if not re.fullmatch(NAME, name):
            raise _unusable(1, f"Column {number}: a name is of letters from a to z, digits and underscores.")
    if len(set(names)) < len(names):
        raise _unusable(1, "Two columns have the same name.")
    if len(names) > MOST_COLUMNS + 1:
        raise _unusable(1, f"There are at most {MOST_COLUMNS} columns besides the addresses.")
    return names, separator


def _wrong(name: str, cell: str) -> tuple[str, str] | None:
    if UNREADABLE.search(cell):
        return "characters", "There are bytes in it that are not UTF-8, or null characters."
    most = _MOST_OF_ADDRESS if name in ADDRESS else _MOST_OF_VALUE
    return ("too_long", f"At most {most} characters.") if len(cell) > most else None


def _unusable(line: int, message: str) -> UnusableFile:
    return UnusableFile(errors=[FieldError(f"lines.{line}", message)])
