"""What a text costs, and numbers in their one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain.channels.phones import GSM_7, UCS_2, e164, segments


@pytest.mark.promise("N23")
@pytest.mark.parametrize(
    ("text", "encoding", "count"),
    [
        ("", GSM_7, 0),
        ("a", GSM_7, 1),
        ("a" * 160, GSM_7, 1),
        ("a" * 161, GSM_7, 2),
        ("a" * 306, GSM_7, 2),
        ("a" * 307, GSM_7, 3),
        ("€" * 80, GSM_7, 1),
        ("€" * 81, GSM_7, 2),
        # An escape and its character stay together: 76 of two places in 153.
        ("€" * 152, GSM_7, 2),
        ("€" * 153, GSM_7, 3),
        ("Grüße: £5 @ 10 Å\r\n{[~]}", GSM_7, 1),
        ("é" * 160, GSM_7, 1),
        ("ê", UCS_2, 1),
        ("`" * 70, UCS_2, 1),
        ("Я" * 71, UCS_2, 2),
        ("Я" * 134, UCS_2, 2),
        ("Я" * 135, UCS_2, 3),
        ("a" * 159 + "\u2026", UCS_2, 3),
        ("😀" * 35, UCS_2, 1),
        ("😀" * 36, UCS_2, 2),
        # Half an emoji is nothing: 33 of two places in 67.
        ("😀" * 66, UCS_2, 2),
        ("😀" * 67, UCS_2, 3),
    ],
)
def test_text_is_counted_in_segments(text: str, encoding: str, count: int) -> None:
    assert segments(text) == (encoding, count)


@given(st.text(max_size=400), st.text(max_size=20))
def test_more_text_never_costs_less(text: str, more: str) -> None:
    assert segments(text)[1] <= segments(text + more)[1]


@pytest.mark.parametrize("written", ["+49 (151) 123-4567", "+491511234567", "+49.151/1234567", "+49\u00a01511234567"])
def test_number_has_one_form(written: str) -> None:
    assert e164(written) == "+491511234567"


@pytest.mark.parametrize(
    "written",
    ["", "491511234567", "0151234567", "+0151234567", "+1", "+123456789012345678", "+1202555010x", "+١٢٣٤٥٦٧٨"],
)
def test_what_is_no_number_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"\+491511234567"):
        e164(written)
