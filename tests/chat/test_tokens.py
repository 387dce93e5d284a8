"""What can be searched for in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_service.domain import tokens


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, World!", {"hello", "world"}),
        ("Straße CAFÉ naïve Ёлка", {"strasse", "cafe", "naive", "елка"}),
        ("#Release @Bob", {"#release", "release", "@bob", "bob"}),
        ("report_final-2.PDF", {"report", "final", "2", "pdf"}),
        ("東京都", {"東", "京", "都", "東京", "京都"}),
        ("がか", {"が", "か", "がか"}),
        ("안녕 hi", {"안", "녕", "안녕", "hi"}),
        ("abc中def", {"abc", "中", "def"}),
        ("\uff26\uff35LL \ufb01ne", {"full", "fine"}),
        ("👍 ... !?", set()),
        ("", set()),
    ],
)
def test_tokens_of_a_text(text: str, found: set[str]) -> None:
    assert set(tokens.of_text(text)) == found


@given(st.text())
def test_what_is_asked_is_always_among_what_was_stored(text: str) -> None:
    assert set(tokens.of_query(text)) <= set(tokens.of_text(text))


@given(st.text(), st.text(), st.text())
def test_runs_without_spaces_are_found_by_any_part(before: str, part: str, after: str) -> None:
    run = "東京" + "".join(c for c in part if "\u4e00" <= c <= "\u9fff")
    assert set(tokens.of_query(run)) <= set(tokens.of_text(f"{before}{run}{after}"))


def test_phrases_are_what_is_quoted_and_long_runs() -> None:
    assert tokens.phrases('say "Hello there" 東京都庁 東京 "" "') == ["Hello there", "東京都庁"]
