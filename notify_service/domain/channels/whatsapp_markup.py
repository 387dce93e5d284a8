"""Formatted text with the marks that WhatsApp shows: https://faq.whatsapp.com/539178204879377, looked up in 2026-11.

There is no way to write a mark that is none, so plain text is as it is.
"""

from collections.abc import Iterable, Sequence

from notify_service.domain.channels.markup import BOLD, CODE, ITALIC, PRE, QUOTE, STRIKE, Run, pieces

# The innermost first.
_AROUND = {CODE: "`", STRIKE: "~", ITALIC: "_", BOLD: "*"}


def fitting(runs: Sequence[Run], most: int, size: int | None = None) -> list[str]:
    """In pieces of at most `most` characters as they are written, marks and all. `size`: of them as they are seen,
    to begin with."""
    size = size or most
    found = []
    for piece in pieces(runs, size):
        text = written(piece)
        found += [text] if len(text) <= most or size == 1 else fitting(piece, most, size // 2)
    return [text for text in found if text.strip()]


def written(runs: Iterable[Run]) -> str:
    """Marks touch no blank, and end with their line."""
    text = ""
    for run in runs:
        if PRE in run.styles:
            text += f"```{run.text}```"
            continue
        for number, line in enumerate(run.text.split("\n")):
            text += "\n" if number else ""
            text += "> " if line and QUOTE in run.styles and (not text or text.endswith("\n")) else ""
            text += _marked(line, run)
    return text


def _marked(line: str, run: Run) -> str:
    core = line.strip()
    if not core:
        return line
    before, after = line[: line.index(core)], line[line.index(core) + len(core) :]
    shown = core
    for style, mark in _AROUND.items():
        if style in run.styles:
            shown = f"{mark}{shown}{mark}"
    if run.link:
        shown = run.link if core == run.link else f"{shown} ({run.link})"
    return f"{before}{shown}{after}"
