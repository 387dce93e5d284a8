"""`docs/promises.md` and the tests speak of the same promises."""

import ast
import functools
import re

from tests.architecture.tree import ROOT

ROW = re.compile(r"^\| (?P<id>[A-Z]{1,2}\d+[a-z]?) \| (?P<promise>.+?) \| (?P<tests>.+?) \|$", re.MULTILINE)


@functools.cache
def promised() -> dict[str, tuple[str, str]]:
    rows = list(ROW.finditer((ROOT / "docs/promises.md").read_text()))
    found = {row["id"]: (row["promise"], row["tests"]) for row in rows}
    assert len(found) == len(rows), "an id stands twice in docs/promises.md"
    return found


@functools.cache
def marks() -> list[tuple[str, str]]:
    """(id, file) of every `pytest.mark.promise(...)`, on tests, classes, parameters and modules alike."""
    found: list[tuple[str, str]] = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "promise":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{path}: a promise id must be a literal"
                    found.append((str(argument.value), str(path.relative_to(ROOT / "tests"))))
    return found


def test_every_promise_has_a_test() -> None:
    assert promised().keys() - {mark for mark, _ in marks()} == set()


def test_every_marked_test_holds_a_promise() -> None:
    assert {f"{mark} in {file}" for mark, file in marks() if mark not in promised()} == set()


def test_every_row_names_where_it_is_tested() -> None:
    files: dict[str, set[str]] = {}
    for mark, file in marks():
        files.setdefault(mark, set()).add(file)
    wrong = {
        i: sorted(files[i])
        for i, (_, tests) in promised().items()
        if i in files and set(re.findall(r"`([^`]+)`", tests)) != files[i]
    }
    assert wrong == {}
