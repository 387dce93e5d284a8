"""Every mail and text that there are words for is sent by somebody, and everything that is sent has words."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from auth_service.domain import mailed_codes, phone_codes
from notify_service.domain.templates.kinds import ASKED_FOR, MAILS, PAGES, SWITCHABLE, TEXTS, Told
from tests.architecture.tree import ROOT, sources

# Notify writes it itself, of what chat tells.
OF_CHAT = {"digest", "mention", "message"}
KINDS = MAILS | TEXTS


@dataclass(frozen=True)
class Asked:
    where: str
    kind: str
    names: frozenset[str] | None
    """Of its variables, where they are written in the call."""
    has_secret: bool


def asked() -> Iterator[Asked]:
    for path in sources("auth_service"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("messages."):
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                named = given.get("variables")
                written = named is None or isinstance(named, ast.Dict)
                names = frozenset(map(ast.literal_eval, named.keys)) if isinstance(named, ast.Dict) else frozenset()
                for kind in kinds_of(call, path.stem):
                    yield Asked(path.stem, kind, names if written else None, "secret" in given)


def kinds_of(call: ast.Call, where: str) -> list[str]:
    words = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if not words and "purpose.kind" in map(ast.unparse, call.args):
        module = {"phone_codes": phone_codes, "mailed_codes": mailed_codes}[where]
        return [each.kind for each in vars(module).values() if isinstance(each, module.Purpose)]
    assert len(words) == 1, f"the kind of {ast.unparse(call)} cannot be read"
    return words


ASKED = list(asked())
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests" / "auth").glob("*.py"))


@pytest.mark.promise("A45")
def test_everything_that_is_asked_for_has_words_and_the_other_way_round() -> None:
    assert {each.kind for each in ASKED} == KINDS.keys() - OF_CHAT


@pytest.mark.promise("A45")
@pytest.mark.parametrize("each", ASKED, ids=lambda each: f"{each.where}-{each.kind}")
def test_what_is_asked_for_brings_what_its_words_need(each: Asked) -> None:
    fields = KINDS[each.kind].model_fields
    assert each.has_secret == ("secret" in fields)
    if each.names is not None:
        own = fields.keys() - {"secret", "name"}
        assert each.names <= own
        assert {name for name in own if fields[name].is_required()} <= each.names


@pytest.mark.promise("A45")
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - OF_CHAT))
def test_a_test_of_auth_sees_each_of_them_sent(kind: str) -> None:
    assert f'"{kind}"' in TESTS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_docs_list_each_with_its_variables(kind: str) -> None:
    (row,) = re.findall(rf"^\| `{kind}` \|.*$", (ROOT / "docs" / "templates.md").read_text(), re.MULTILINE)
    assert row.split("|")[2].strip() == (", ".join(f"`{name}`" for name in variables(KINDS[kind])) or "-")


def variables(model: type[Told]) -> list[str]:
    return [name for name in model.model_fields if name != "name"]


def test_only_mails_have_ways_to_be_switched_off_and_only_secrets_pages() -> None:
    assert MAILS.keys() >= SWITCHABLE | ASKED_FOR
    assert SWITCHABLE == OF_CHAT
    assert all("secret" in KINDS[kind].model_fields for kind in PAGES)
