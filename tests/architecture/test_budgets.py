"""Small files, small functions: what a reader can hold in the head."""

import ast
import functools
import statistics
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT, sources

FILES = sources(*PACKAGES, "parley_client", "deploy")


@functools.cache
def functions(path: Path) -> list[tuple[str, int, int]]:
    tree = ast.parse(path.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(n.name, (n.end_lineno or 0) - n.lineno + 1, len(n.args.args)) for n in found]


LENGTHS = {path: len(path.read_text().splitlines()) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path: Path) -> None:
    assert LENGTHS[path] <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_function_is_long(path: Path) -> None:
    assert [name for name, lines, _ in functions(path) if lines > 60] == []


def test_most_files_are_short() -> None:
    assert statistics.quantiles(LENGTHS.values(), n=20)[-1] <= 300
    assert statistics.median(LENGTHS.values()) <= 120


def test_most_functions_are_short() -> None:
    lengths = [lines for path in FILES for _, lines, _ in functions(path)]
    assert statistics.median(lengths) <= 12
    assert statistics.quantiles(lengths, n=20)[-1] <= 40


def test_there_are_two_floors() -> None:
    """What is committed is committed at the edge: no function of ours commits by itself."""
    for path in sources("auth_service", "chat_service", "notify_service"):
        assert ".commit()" not in path.read_text(), f"{path.relative_to(ROOT)} commits"


def test_there_are_no_drawers() -> None:
    names = {path.stem for path in FILES}
    assert names & {"utils", "util", "misc", "common", "helpers", "base", "manager"} == set()
