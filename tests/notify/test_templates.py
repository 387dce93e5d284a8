"""What mails and texts say: in every language, with any values."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from pydantic import ValidationError

from notify_service.domain import templates
from notify_service.domain.channels import CannotRender
from notify_service.domain.templates import kinds, languages, paper
from notify_service.domain.templates.kinds import MAILS, PAGES, TEXTS
from notify_service.settings import Settings
from tests.notify.world import World

LANGUAGES = sorted(languages.TAGS)
VALUES: dict[str, Any] = {
    "new_email": "new@example.test", "device": "Firefox on Linux", "place": "Oslo", "time": "2026-11-21T15:04:05Z",
    "what": "totp_added", "remaining": "3", "date": "2026-12-21", "provider": "Google", "label": "Backups",
    "sender": "Grace Hopper", "conversation": "Tea club", "excerpt": "Tea?\nAt five.", "api_tokens": "7",
    "count": "5", "more": "2", "listing": "Tea club\nGrace: Tea?\nAda: At five.",
}  # fmt: skip
NUMBERS = ("remaining", "api_tokens", "count", "more")
OF_CHAT = {"message", "mention", "digest"}
NASTY = "<script>alert(1)</script> \"' & {{ 7*7 }} {% raw %} \r\nBcc: evil@example.test ${x} %s \u202e"
BASE = "https://app.example.test/account"


def values(kind: str, **changed: Any) -> dict[str, Any]:
    wanted = (MAILS | TEXTS)[kind].model_fields.keys() - {"secret", "name"}
    return {"name": "Ada", **{name: VALUES[name] for name in wanted}, **changed}


def secret(kind: str) -> str | None:
    return "s3cret/token+" if "secret" in (MAILS | TEXTS)[kind].model_fields else None


class Reader(HTMLParser):
    """The elements and words of a page; a tag that is not closed shows as what is left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))
        self.words += " "
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.promise("A45", "N64")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", MAILS)
def test_every_mail_is_written_in_every_language(kind: str, language: str) -> None:
    mail = templates.render(kind, values(kind, language=language), secret(kind))
    english = templates.render(kind, values(kind), secret(kind))
    assert (mail == english) == (language == "en")
    assert mail.subject == mail.subject.strip() != ""
    page = Reader(mail.html)
    assert page.open == []
    assert page.seen[0] == ("html", {"lang": language, "dir": "ltr"})
    assert "Ada" in mail.text
    assert "Ada" in page.words


@pytest.mark.promise("N64")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", MAILS)
def test_both_forms_of_a_mail_say_the_same(kind: str, language: str) -> None:
    mail = templates.render(kind, values(kind, language=language), secret(kind))
    # The title is the subject.
    words = re.sub(r"\s+", " ", Reader(mail.html).words).replace(mail.subject, "", 1).strip()
    text = re.sub(r"\s+", " ", mail.text.replace("\n-- \n", "\n").replace("\n> ", "\n")).strip()
    assert words == text


@pytest.mark.parametrize("kind", MAILS)
def test_every_value_is_shown(kind: str) -> None:
    mail = templates.render(kind, values(kind), secret(kind))
    shown = {**values(kind), "time": "2026-11-21 15:04 UTC", "what": "An authenticator app", "excerpt": "Tea?"}
    shown["listing"] = "> Ada: At five."
    for name in values(kind):
        assert shown[name] in mail.text, name


@pytest.mark.promise("N64", "L13")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", MAILS)
def test_values_are_never_more_than_text(kind: str, language: str) -> None:
    given = {n: NASTY if isinstance(v, str) and n not in NUMBERS else v for n, v in values(kind).items()}
    mail = templates.render(kind, {**given, "language": language}, secret(kind) and "<b>&\"'{{7*7}}")
    plain = templates.render(kind, values(kind, language=language), secret(kind))
    assert [tag for tag, _ in Reader(mail.html).seen if tag != "br"] == [
        tag for tag, _ in Reader(plain.html).seen if tag != "br"
    ]
    assert len(mail.subject.splitlines()) == 1
    assert kind in OF_CHAT or "\nBcc:" not in mail.text
    assert "49" not in mail.text + mail.html
    assert not given.keys() - {"name", "label", *NUMBERS} or "{{ 7*7 }}" in mail.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", TEXTS)
def test_every_text_fits_one_message(kind: str, language: str) -> None:
    text = templates.render_text(kind, {"name": "Ada"}, "123456", language)
    assert "123456" in text
    assert len(text) <= 160
    assert "\n" not in text


@pytest.mark.promise("N64")
@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ("de", "Neue Nachricht"), ("de-AT", "Neue Nachricht"), ("DE_ch", "Neue Nachricht"), ("fr-CA-x", "Nouveau"),
        ("es-419", "Nuevo"), ("en-GB", "New"), ("ja", "New"), ("", "New"), (None, "New"), ("../de", "New"), (7, "New"),
    ],
)  # fmt: skip
def test_language_is_the_nearest_that_there_is(given: Any, subject: str) -> None:
    assert templates.render("message", values("message", language=given)).subject.startswith(subject)


@pytest.mark.promise("N64")
@pytest.mark.parametrize(
    ("kind", "given", "secret"),
    [
        ("nothing", {}, None), ("message", {"name": "x"}, None), ("verify_email", {}, None), ("verify_email", {}, ""),
        ("account_exists", {"more": "x"}, None), ("account_exists", {}, "secret"),
        ("account_exists", {"name": 1}, None), ("verify_email", {}, "two\nlines"),
        ("recovery_code_used", {"remaining": "many"}, None), ("new_device", {"device": "x"}, None),
        ("message", {**VALUES, "sender": None}, None), ("phone_code", {}, "123456"), ("shared", {}, None),
    ],
)  # fmt: skip
def test_what_is_missing_unknown_or_of_another_type_is_refused(kind: str, given: Any, secret: Any) -> None:
    with pytest.raises(CannotRender):
        templates.render(kind, given, secret)


def test_text_has_a_link_where_there_is_a_page_for_it() -> None:
    given = {"name": "Ada", "page": f"{BASE}/undo-phone"}
    assert templates.render_text("phone_undo", given, "a/b+c").endswith(f" {BASE}/undo-phone#token=a%2Fb%2Bc")
    assert templates.render_text("phone_undo", {"name": "Ada"}, "a/b+c").endswith(": a/b+c")


def test_mail_is_no_text_message() -> None:
    with pytest.raises(CannotRender):
        templates.render_text("verify_email", {}, "123456")


def test_refusal_quotes_no_value() -> None:
    with pytest.raises(CannotRender) as caught:
        templates.render("verify_email", {"unknown": "x"}, "s3cret")
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kind", sorted(PAGES.keys() & MAILS.keys()))
def test_link_keeps_its_token_from_servers(kind: str) -> None:
    mail = templates.render(kind, values(kind, page=f"{BASE}/{PAGES[kind]}"), "a/b+c?d#e")
    link = f"{BASE}/{PAGES[kind]}#token=a%2Fb%2Bc%3Fd%23e"
    assert f"\n{link}\n" in mail.text
    assert [a["href"] for tag, a in Reader(mail.html).seen if tag == "a"] == [link]
    assert "a/b+c" not in mail.text + mail.html


@pytest.mark.parametrize("kind", sorted(PAGES.keys() & MAILS.keys()))
def test_without_a_page_the_code_itself_is_shown(kind: str) -> None:
    mail = templates.render(kind, values(kind), "a/b+c")
    assert "\na/b+c\n" in mail.text
    assert "a/b+c" in Reader(mail.html).words
    assert "http" not in mail.text


@pytest.mark.parametrize("name", ["Win $1000 at http://evil.test", "evil.example.test", "www.x", "a@b", "x" * 61])
def test_name_that_advertises_is_not_repeated(name: str) -> None:
    mail = templates.render("verify_email", {"name": name}, "token")
    assert mail.text.startswith("Hello,\n")
    assert name not in mail.html


@pytest.mark.parametrize("name", ["Ada", "J.R.R. Tolkien", "Ädä Lövelace, née Byron", "O'Neil-Smith Jr."])
def test_ordinary_names_are_greeted(name: str) -> None:
    assert templates.render("account_exists", {"name": name}).text.startswith(f"Hello {name},\n")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2026-11-21T15:04:05Z", "2026-11-21 15:04 UTC"), ("2026-11-21T15:04:05+01:00", "2026-11-21 15:04 +0100"),
        ("2026-11-21", "2026-11-21"), ("soon", "soon"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02 03:04 UTC"),
    ],
)  # fmt: skip
def test_times_are_read_alike_in_all_languages(given: Any, shown: str) -> None:
    assert shown in templates.render("account_deletion", {"date": given}).text


def test_what_auth_names_by_a_word_is_named_in_the_language() -> None:
    variables = {"device": "an unknown device", "place": "unknown", "time": "2026-11-21T15:04:05Z", "language": "de"}
    assert "ein unbekanntes Gerät, unbekannt, 2026-11-21 15:04 UTC" in templates.render("new_device", variables).text
    assert (
        "Passkey wurde entfernt" in templates.render("mfa_changed", {"what": "passkey_removed", "language": "de"}).text
    )
    assert "Something else." in templates.render("mfa_changed", {"what": "Something else.", "language": "de"}).text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_words_all_kinds_and_nothing_else(language: str) -> None:
    words = languages.words(language)
    assert words.keys() - {"shared"} == (MAILS | TEXTS).keys()
    assert words["shared"].keys() == languages.words("en")["shared"].keys()
    assert words["shared"]["names"].keys() == languages.words("en")["shared"]["names"].keys()
    assert "@" not in str(words).replace("@not_you", "")


@pytest.mark.promise("A45")
def test_mails_that_cannot_be_switched_off_say_so() -> None:
    for kind in MAILS.keys() - kinds.SWITCHABLE - kinds.ASKED_FOR:
        assert "cannot be switched off" in templates.render(kind, values(kind), secret(kind)).text


def test_words_cannot_reach_into_the_program() -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        paper.line("{{ name.__class__.__mro__ }}").render(name="Ada")
    with pytest.raises(UndefinedError):
        paper.line("{{ missing }}").render()


@pytest.mark.promise("L13")
@pytest.mark.parametrize(
    "base", ["app.example.test", "ftp://x.test", "https://", "https://a.test?x=1", "https://a.test#x", "https://u@a.test"]
)  # fmt: skip
def test_base_of_links_is_a_plain_address(world: World, base: str) -> None:
    with pytest.raises(ValidationError):
        world.settings(link_base=base)


def test_base_of_links_may_end_with_a_slash(world: World) -> None:
    settings: Settings = world.settings(link_base="https://app.example.test/account/")
    assert settings.link_base == "https://app.example.test/account"


@pytest.mark.promise("A45", "N64")
@pytest.mark.parametrize("kind", sorted(MAILS.keys() - OF_CHAT))
async def test_every_mail_of_auth_arrives_in_the_language_of_its_reader(world: World, kind: str) -> None:
    ada = await world.register()
    told = {name: str(value) for name, value in values(kind).items() if name != "name"}
    await world.ask_to_verify(ada, kind=kind, secret=secret(kind), variables=told, language="fr-CA")
    (row,) = await world.ended(ada)
    assert (row["state"], row["category"]) == ("sent", "security")
    (mail,) = world.mails(ada)
    expected = templates.render(kind, values(kind, language="fr"), secret(kind))
    assert mail.subject == expected.subject
    assert mail.text.replace("\r\n", "\n") == expected.text
    assert mail.html.replace("\r\n", "\n") == expected.html


async def test_mail_about_a_message_is_in_the_language_of_its_reader(world: World) -> None:
    ada = await world.register(language="es")
    await world.say(ada)
    await world.ended(ada)
    assert world.mails(ada)[0].subject == "Nuevo mensaje de Grace Hopper"


@pytest.mark.promise("L13")
async def test_links_lead_to_the_configured_address_only(own_world: World) -> None:
    async with own_world.working(link_base=BASE):
        ada = await own_world.register()
        forged = {"page": "https://evil.test"}
        await own_world.ask_to_verify(ada, variables=forged, secret="t0ken")
        await own_world.ask_to_verify(ada, kind="account_exists", secret=None, variables=forged)
        await own_world.ended(ada, 2)
    mails = own_world.mails(ada)
    assert [f"{BASE}/verify-email#token=t0ken" in mail.text for mail in mails].count(True) == 1
    assert all("evil.test" not in mail.text + mail.html for mail in mails)


def test_rows_from_before_languages_are_still_worded() -> None:
    old = {"name": "Ada", "page": "https://app.example.test/verify"}
    assert "https://app.example.test/verify#token=t" in templates.render("verify_email", old, "t").text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_new_password_tells_of_tokens_where_there_are_any(language: str) -> None:
    def told(count: str) -> str:
        return templates.render("password_changed", {"language": language, "api_tokens": count}).text

    assert "(7)" in told("7")
    assert "(0)" not in told("0")
    assert told("0") == templates.render("password_changed", {"language": language}).text
