"""Mails as bytes, held against the parser of the standard library."""

import html
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import SMTP as SMTP_POLICY
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notify_service.domain.channels import CannotRender
from notify_service.domain.content import Button, Content
from notify_service.domain.form_letters import FormLetter, FormLetters
from notify_service.domain.letters import Sender, compose, deliverable, heading
from notify_service.domain.templates import Mail

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SENDER = Sender("Parley", "parley@example.test")
HEADERS = ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"]


def letter(to: str = "ada@example.test", *, name: str = "Ada", subject: str = "Hi", text: str = "Hello.") -> bytes:
    return compose(uuid4(), SENDER, to=(name, to), mail=Mail(subject, text, f"<p>{text}</p>"), at=NOW)


def form(content: Content, **values: str) -> bytes:
    filled = FormLetter(content).filled(values)
    head = heading(uuid4(), SENDER, to=("", "ada@example.test"), subject=filled.subject, at=NOW)
    return head + filled.body.headers + b"\r\n" + filled.body.content


def parsed(raw: bytes) -> Any:
    return message_from_bytes(raw, policy=SMTP_POLICY)


def said(mail: Any, kind: str) -> str:
    """A part as it is read, without the line end that it has anyway."""
    text: str = mail.get_body([kind]).get_content()
    return text.replace("\r\n", "\n").removesuffix("\n")


def in_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_mail_is_complete_and_has_two_forms() -> None:
    message_id = uuid4()
    raw = compose(message_id, SENDER, to=("Ada", "ada@example.test"), mail=Mail("Hi", "Text.", "<p>Rich</p>"), at=NOW)
    mail = parsed(raw)
    assert (mail["From"], mail["To"]) == ("Parley <parley@example.test>", "Ada <ada@example.test>")
    assert mail["Message-ID"] == f"<{message_id}@example.test>"
    assert mail["Date"] == "Fri, 02 Jan 2026 03:04:05 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_body(["plain"]).get_content() == "Text.\r\n"
    assert mail.get_body(["html"]).get_content() == "<p>Rich</p>\r\n"
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_names_beyond_ascii_travel_as_encoded_words() -> None:
    raw = letter(name="Ädä Lövelace, née Byron", subject="Grüße 🎉")
    assert raw.isascii()
    mail = parsed(raw)
    assert mail["To"].addresses[0].display_name == "Ädä Lövelace, née Byron"
    assert mail["Subject"] == "Grüße 🎉"


def test_long_values_are_folded() -> None:
    raw = letter(name="Ada " * 40, subject="Grüße " * 30)
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert parsed(raw)["Subject"] == ("Grüße " * 30).strip()
    # In names the newer parser of the standard library leaves the spaces between encoded words, which are none.
    name = str(make_header(decode_header(message_from_bytes(raw)["To"])))
    assert name == "Ada " * 40 + "<ada@example.test>"


INJECTIONS = [
    "=?utf-8?q?=0D=0ABcc:_e@example.test?=",
    "=?utf-8?b?DQpCY2M6IGU=?=",
    "x\r\nBcc: evil@example.test",
    "x\nBcc: e",
    "x\rBcc: e",
    "x\x00",
    "x\u2028Bcc: e",
    "\ud800",
    "\r\n\r\nbody",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=range(len(INJECTIONS)))
def test_no_text_becomes_a_header_of_its_own(text: str) -> None:
    mail = parsed(letter(name=text, subject=text, text=text))
    assert sorted(mail.keys()) == HEADERS
    assert [a.addr_spec for a in mail["To"].addresses] == ["ada@example.test"]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
@example("=?utf-8?q?=0D=0ABcc:_e@example.test?=", "=?utf-8?b?DQpCY2M6IGU=?=", ".\r\n.\r\nQUIT")
def test_any_text_makes_a_mail_to_one_person(name: str, subject: str, text: str) -> None:
    raw = letter(name=name, subject=subject, text=text)
    mail = parsed(raw)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert sorted(mail.keys()) == HEADERS
    assert [a.addr_spec for a in mail["To"].addresses] == ["ada@example.test"]
    assert said(mail, "plain") == in_lines(text.encode("utf-8", "replace").decode()).removesuffix("\n")


@pytest.mark.parametrize(
    "address",
    [
        "", "nobody", "@example.test", "ada@", "a b@example.test", "ada@example.test\r\nRCPT TO:<e@example.test>",
        "a@b@example.test", "ädä@example.test", "<ada@example.test>", "ada@exa mple.test", "ada@" + "x" * 70 + ".test",
        "ada@example.test>", "ada,b@example.test", "ada.@example.test", "a" * 400 + "@example.test",
    ],
)  # fmt: skip
def test_address_that_cannot_be_one_is_never_tried(address: str) -> None:
    with pytest.raises(CannotRender):
        letter(address)


def test_international_domain_is_reached_by_its_ascii_name() -> None:
    assert deliverable("ada@bücher.example") == "ada@xn--bcher-kva.example"


CONTENT = Content(
    subject="{{name}}, hello",
    text="Dear {{name}},\nyou have {{ count }}.\n{{name}}{{count}}\n{{end}}",
    html='<html><body><p title="{{name}}">Dear {{name}},</p><p>{{count}}</p></body></html>',
    buttons=[Button(title="Open {{name}}'s", url="https://example.test/{{count}}?a=1&b=2")],
)
VALUES = st.one_of(st.text(max_size=120), st.sampled_from(["=", ".", ". ", " ", "\n.\n", "a\r\n.b", "=3D", "x" * 300]))


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, VALUES)
def test_filled_form_says_what_the_content_says(name: str, count: str, end: str) -> None:
    values = {"name": name, "count": count, "end": end}
    raw = form(CONTENT, **values)
    mail = parsed(raw)
    # What has no form in UTF-8 is a question mark.
    values = {key: in_lines(value.encode("utf-8", "replace").decode()) for key, value in values.items()}
    filled = CONTENT.filled(values)
    button = filled.buttons[0]
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert sorted(mail.keys()) == HEADERS
    assert said(mail, "plain") == f"{filled.text}\n\n{button.title}: {button.url}"
    title = html.escape("Open {0}'s").format(html.escape(values["name"]))
    url = html.escape("https://example.test/{0}?a=1&b=2").format(html.escape(values["count"]))
    link = f'<p><a href="{url}">{title}</a></p>\n'
    assert said(mail, "html") == (filled.html or "").replace("</body>", link + "</body>")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
@example("=?utf-8?q?one=0D=0ABcc:_two?=")
def test_subject_is_what_it_was(subject: str) -> None:
    mail = parsed(form(Content(subject="{{subject}}", text="x"), subject=subject))
    assert mail["Subject"] == " ".join(subject.replace("=?", "= ?").split())


def test_html_alone_has_its_words_as_text() -> None:
    mail = parsed(form(Content(subject="s", html="<p>Dear {{name}}</p><p>Bye</p>"), name="<Ada>"))
    assert said(mail, "plain") == "Dear <Ada>\nBye"
    assert said(mail, "html") == "<p>Dear &lt;Ada&gt;</p><p>Bye</p>"


def test_text_alone_is_a_mail_of_one_part() -> None:
    mail = parsed(form(Content(subject="s", text="Hi {{name}}"), name="Ada"))
    assert mail.get_content_type() == "text/plain"
    assert said(mail, "plain") == "Hi Ada"


def test_value_that_is_missing_is_no_mail() -> None:
    with pytest.raises(CannotRender, match="missing_variable"):
        FormLetter(CONTENT).filled({"name": "Ada", "count": "1"})


def test_content_is_worked_out_once() -> None:
    known, twin = FormLetters(), CONTENT.model_copy()
    assert known.of(CONTENT) is known.of(CONTENT)
    assert known.of(twin) is not known.of(CONTENT)


@pytest.mark.promise("N66")
def test_bulk_mail_has_a_way_out_by_one_click() -> None:
    sender = Sender("Parley", "parley@example.test", reply_to="help@example.test", unsubscribe="stop@example.test")
    page = "https://example.test/u/abc"
    head = heading(uuid4(), sender, to=("", "ada@example.test"), subject="s", at=NOW, unsubscribe=page)
    mail = parsed(head + b"\r\n")
    assert mail["List-Unsubscribe"] == f"<{page}>, <mailto:stop@example.test>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Reply-To"] == "help@example.test"


@pytest.mark.parametrize("page", ["https://x.test/>\r\nBcc: e@x.test", "javascript:x", "https://x.test/ä", ""])
def test_way_out_is_an_address_of_a_page(page: str) -> None:
    with pytest.raises(CannotRender, match="bad_unsubscribe"):
        heading(uuid4(), SENDER, to=("", "ada@example.test"), subject="s", at=NOW, unsubscribe=page)
