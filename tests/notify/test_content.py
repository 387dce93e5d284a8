"""What somebody wants to say, and what a channel makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from notify_service.domain.adaptation import adapted, parts, problems, text_of
from notify_service.domain.channels import Capability, Media
from notify_service.domain.content import Content

SHORT = Capability(channel="sms", provider="short", lines=1, text_max=20, overflow="truncate")
RICH = Capability(
    channel="chat",
    provider="rich",
    lines=1,
    text_max=50,
    overflow="refuse",
    media={"image": Media(1_000_000, caption_max=5)},
    buttons=2,
    button_title_max=8,
)


def made(**content: object) -> Content:
    return Content.model_validate(content)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"subject": "only"},
        {"text": ""},
        {"text": "half {{a"},
        {"text": "{{A}}"},
        {"text": "{{a b}}"},
        {"subject": "a\nb", "text": "x"},
        {"text": "x", "url": "javascript:alert(1)"},
        {"text": "x", "buttons": [{"title": "t"}]},
        {"text": "x", "buttons": [{"title": "t", "url": "https://a.test", "id": "b"}]},
        {"text": "x", "surprise": 1},
        {"text": "x\x00"},
    ],
)
def test_content_that_says_nothing_or_too_much_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        made(**content)


def test_values_are_put_in_everywhere_and_are_never_templates() -> None:
    content = made(
        subject="To {{name}}",
        text="{{ name }}: {{link}}",
        html="<b>{{name}}</b>",
        buttons=[{"title": "Go", "url": "https://a.test/{{link}}"}],
    )
    assert content.placeholders() == {"name", "link"}
    filled = content.filled({"name": "<i>{{link}}</i>", "link": "7"})
    assert filled.subject == "To <i>{{link}}</i>"
    assert filled.text == "<i>{{link}}</i>: 7"
    assert filled.html == "<b>&lt;i&gt;{{link}}&lt;/i&gt;</b>"
    assert filled.buttons[0].url == "https://a.test/7"
    with pytest.raises(KeyError):
        content.filled({"name": "x"})


@pytest.mark.promise("N28")
def test_markup_subject_and_buttons_become_words_where_there_are_none() -> None:
    content = made(
        subject="News",
        html="<style>p{}</style><p>Dear &amp; near,</p><p>see <a href='https://a.test/x'>this</a></p>",
        buttons=[{"title": "More", "url": "https://a.test/more"}],
    )
    plain = Capability(channel="sms", provider="plain", lines=1)
    text = "News\n\nDear & near,\nsee this (https://a.test/x)\n\nMore: https://a.test/more"
    assert adapted(content, plain) == made(text=text)
    assert adapted(content, plain) == adapted(content, plain)
    html = Capability(channel="email", provider="mail", lines=1, subject_max=100, markup="html", buttons=3)
    assert adapted(content, html) == content


@pytest.mark.promise("N28")
def test_long_text_is_cut_where_the_channel_cuts() -> None:
    cut = adapted(made(text="one two three four five"), SHORT).text
    assert cut == "one two three four\u2026"


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"template": {"name": "hello"}}, "content.template"),
        ({"text": "x", "media": {"kind": "video", "url": "https://a.test/v"}}, "content.media.kind"),
        ({"media": {"kind": "image", "url": "https://a.test/v", "caption": "too long"}}, "content.media.caption"),
        ({"reaction": {"message_id": "1", "emoji": "x"}}, "content.reaction"),
        ({"text": "x" * 51}, "content.text"),
        ({"text": "x", "buttons": [{"title": "t", "id": str(i)} for i in range(3)]}, "content.buttons"),
        ({"text": "x", "buttons": [{"title": "far too long", "id": "1"}]}, "content.buttons.0.title"),
        ({"text": "x", "choices": {"title": "t", "choices": [{"id": "1", "title": "a"}]}}, "content.choices"),
    ],
)
def test_what_a_channel_cannot_do_is_named_with_its_field(content: dict[str, object], field: str) -> None:
    assert [problem.field for problem in problems(made(**content), RICH)] == [field]


@pytest.mark.promise("N28")
@given(st.text(min_size=1, max_size=300), st.integers(4, 60))
def test_parts_are_short_enough_and_lose_nothing_but_spaces(text: str, most: int) -> None:
    pieces = parts(text, most)
    assert all(0 < len(piece) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_parts_end_where_a_reader_would_stop() -> None:
    assert parts("one two three\n\nfour five six", 18) == ["one two three", "four five six"]
    assert parts("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b", "a\nb"),
        ("<a href=https://a.test>https://a.test</a>", "https://a.test"),
        ("<script>x</script>1 &lt; 2", "1 < 2"),
        ("<p>a</p>\n\n\n\n<p>b</p>", "a\n\nb"),
    ],
)
def test_html_is_read_as_a_reader_would(markup: str, text: str) -> None:
    assert text_of(markup) == text
