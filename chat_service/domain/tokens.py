"""What can be searched for in a message: one tokenizer for what is stored and for what is asked.

Words of alphabets are folded to lower case without accents. Chinese, Japanese and Korean are written without spaces, or
with too few to search by: of a run of such characters every single one and every two neighbours are tokens. So one or
two characters find what they should, on any PostgreSQL. `#topic` and `@name` are also tokens with their sign.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_LONGEST = 64
_MOST = 4000
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = f"{_HAN}\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af"
_RUNS = re.compile(rf"([#@]?)((?:(?![_{_UNSPACED}])\w)+)|([{_UNSPACED}]+)")
_LINK = re.compile(r"https?://\S", re.IGNORECASE)
_PHRASE = re.compile(r'"([^"]*)"')


def of_text(text: str) -> Iterator[str]:
    """Tokens of what was written, for storing."""
    for sign, word, run in _RUNS.findall(folded(text)):
        if run:
            yield from run
            yield from _pairs(run)
        else:
            yield word[:_LONGEST]
            if sign:
                yield sign + word[:_LONGEST]


def of_query(text: str) -> Iterator[str]:
    """Tokens of what is looked for: all of them must be there. Fewer than are stored, for pairs imply their parts."""
    for sign, word, run in _RUNS.findall(folded(text)):
        if run:
            yield from _pairs(run) if len(run) > 1 else run
        else:
            yield sign + word[:_LONGEST]


def phrases(text: str) -> list[str]:
    """What must be there as it stands: what is quoted, and runs without spaces that are longer than their tokens."""
    quoted = [phrase.strip() for phrase in _PHRASE.findall(text) if phrase.strip()]
    runs = [run for _, _, run in _RUNS.findall(unicodedata.normalize("NFKC", text)) if len(run) > 2]
    return quoted + runs


def has_link(text: str) -> bool:
    return _LINK.search(text) is not None


def folded(text: str) -> str:
    """Lower case, one form for each character, and letters of alphabets without their accents."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    if plain.isascii():
        return plain
    return "".join(_bare(c) if c > "\x7f" else c for c in plain)


def vector(tokens: Iterable[str]) -> str:
    """As PostgreSQL reads a tsvector."""
    found = dict.fromkeys(tokens)
    return " ".join(_quoted(token) for token in list(found)[:_MOST])


def condition(tokens: Iterable[str]) -> str:
    """As PostgreSQL reads a tsquery: all of them."""
    return " & ".join(_quoted(token) for token in dict.fromkeys(tokens))


def _pairs(run: str) -> Iterator[str]:
    return (run[i : i + 2] for i in range(len(run) - 1))


def _bare(c: str) -> str:
    # Kana and Hangul fall apart into marks that make another sound: those stay.
    if "\u3000" <= c <= "\ud7ff":
        return c
    return "".join(part for part in unicodedata.normalize("NFKD", c) if unicodedata.category(part) != "Mn") or c


def _quoted(token: str) -> str:
    escaped = token.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
