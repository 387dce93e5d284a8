"""Formatted text, as chats read it."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sandbox.telegram_chats import Chat
from deploy.sandbox.telegram_content import content_of
from notify_service.domain.adaptation import utf16_units
from notify_service.domain.channels import discord, telegram
from notify_service.domain.channels.markup import BOLD, CODE, ITALIC, QUOTE, Run, pieces, read

_TAGS = st.sampled_from(["b", "i", "p", "div", "ul", "li", "blockquote", "pre", "code", "a", "br", "script", "h1", "x"])
_PARTS = st.one_of(
    st.text(max_size=20).map(html.escape),
    st.sampled_from(["<", "</", "&", "&lt;", "<!-- x -->", "<a href='https://a.test/?a=1&b=2'>", "\n", "  "]),
    _TAGS.map(lambda tag: f"<{tag}>"),
    _TAGS.map(lambda tag: f"</{tag}>"),
)
MARKUP = st.lists(_PARTS, max_size=30).map("".join)


def seen(markup: str) -> str:
    return "".join(run.text for run in read(markup))


@pytest.mark.promise("N28")
@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a\n  b<br>c", "a b\nc"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<p>a<br><br><br>b</p>", "a\n\nb"),
        ("<ul><li>a</li><li>b</li></ul>c", "\u2022 a\n\u2022 b\n\nc"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<style>p{}</style><title>t</title>x<script>y</script>", "x"),
        ("1 &lt; 2 &amp;amp; 3", "1 < 2 &amp; 3"),
        ("<pre>  a\n\n\n b </pre>c", "  a\n\n\n b\n\nc"),
        ("<p> </p>", ""),
        ("a </p> b", "a\n\nb"),
    ],
)
def test_html_is_read_as_a_reader_would(markup: str, text: str) -> None:
    assert seen(markup) == text


@pytest.mark.promise("N28")
def test_styles_and_links_are_kept_and_others_are_not() -> None:
    markup = (
        "<h1>T</h1><b>x<em>y</em></b><code><b>z</b></code><a href='javascript:x'>j</a><a href=' https://a.test '>k</a>"
    )
    styles = {run.text: (set(run.styles), run.link) for run in read(markup)}
    assert styles["T"] == ({BOLD}, None)
    assert (styles["x"], styles["y"]) == (({BOLD}, None), ({BOLD, ITALIC}, None))
    assert read(f"<a href='https://a.test/{'x' * 1000}'>l</a>")[0].link is None
    assert styles["z"] == ({CODE}, None)
    assert (styles["j"], styles["k"]) == ((set(), None), (set(), "https://a.test"))


@pytest.mark.promise("N28")
def test_pieces_keep_their_styles() -> None:
    runs = [Run("one two ", frozenset({BOLD})), Run("three four", frozenset({QUOTE}))]
    first, second = pieces(runs, 10)
    assert first == [Run("one two", frozenset({BOLD}))]
    assert second == [Run("three four", frozenset({QUOTE}))]


@pytest.mark.promise("N28")
@given(MARKUP, st.integers(4, 50))
def test_what_is_written_for_telegram_is_what_it_reads(markup: str, most: int) -> None:
    chat = Chat(1, "private", "Ada")
    for piece in pieces(read(markup), most, utf16_units):
        words = "".join(run.text for run in piece)
        assert len(words.encode("utf-16-le")) <= 2 * most
        if words.strip():
            given = {"text": telegram.written(piece), "parse_mode": "HTML"}
            assert content_of("sendMessage", given, chat)["text"] == words


@pytest.mark.promise("N28")
@given(MARKUP)
def test_what_is_written_for_discord_fits(markup: str) -> None:
    assert all(len(text) <= 60 for text in discord.fitting(read(markup), 60))


def test_quote_of_two_lines_is_one_for_telegram_and_two_for_discord() -> None:
    runs = read("<blockquote>a<b>b</b><br>c</blockquote>")
    assert telegram.written(runs) == "<blockquote>a<b>b</b>\nc</blockquote>"
    assert discord.written(runs) == "> a**b**\n> c"
