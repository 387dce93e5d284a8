"""Variables of a type: what is taken for a value, and how its reader reads it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_service.domain import wording
from notify_service.domain.content import Content
from notify_service.domain.templates import languages
from tests.notify.asking import Decide, MakeBot, Person, ended, send
from tests.notify.chats import Outside, new_chat
from tests.notify.crowds import campaign, over, recipients, step
from tests.notify.world import World

KINDS: dict[str, Any] = {
    "amount": {"type": "money", "currency": "EUR"},
    "day": {"type": "date"},
    "at": {"type": "datetime"},
    "opens": {"type": "time"},
    "premium": {"type": "boolean"},
    "link": {"type": "url"},
    "count": {"type": "number"},
    "name": {"type": "text", "max_length": 5},
}
CONTENT = {"text": " | ".join(f"{{{{{name}}}}}" for name in KINDS), "variables": KINDS}
VALUES: dict[str, Any] = {
    "amount": 1234.5, "day": "2026-03-01", "at": "2026-11-22T23:05:59Z", "opens": "08:30", "premium": True,
    "link": "https://x.test/?a=b&c", "count": -1234567.25, "name": "Ada",
}  # fmt: skip
ENGLISH = (
    "1,234.50 € | 1 March 2026 | 22 November 2026, 23:05 UTC | 08:30 | yes | "
    "https://x.test/?a=b&c | -1,234,567.25 | Ada"
)
# Each with values that are of another type, or could be meant in two ways.
WRONG: dict[str, list[Any]] = {
    "amount": ["1.234,50", "1,234.50", "12 €", 1.005, "", " ", "NaN", "1e3", "١٢", "1" * 16, True],
    "day": ["03/04/2026", "2026-02-30", "20261122", "2026-11-22T00:00:00Z", "", "0000-01-01"],
    "at": ["2026-11-22T23:05:00", "2026-11-22", "tomorrow", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-12:00"],
    "opens": ["8:30", "24:00", "08:30:60", "8 pm", "08:30Z", "٠٨:٣٠"],
    "premium": ["maybe", "", "2", 2],
    "link": ["javascript:alert(1)", "//x.test", "x.test", "https://", "https://a b.test", "https://x.test@evil.test",
             "ftp://x.test", "https://x.test/\nBcc: y", "https://[x", 'https://x.test/"onclick=', "data:text/html,x"],
    "count": ["many", "1 000", "0x10", "--1", "1_000", ""],
    "name": ["Ada Lovelace"],
}  # fmt: skip
WRITTEN = sorted(
    [*languages.TAGS, *(f"{tag}-{region}" for tag in languages.TAGS for region in languages.of(tag).regions)]
)


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [each["field"] for each in answer.json()["errors"]]


@pytest.mark.promise("N64")
async def test_values_are_put_into_the_words_of_their_reader(
    world: World, admin: Person, bot: str, chat: str, telegram: Outside
) -> None:
    ada = await world.register(language="de", timezone="Europe/Berlin")
    content = {**CONTENT, "subject": "{{amount}}", "html": "<p>{{link}} {{at}}</p>"}
    to = {"user": str(ada.user_id), "variables": VALUES}
    [made] = (await send(admin, "smtp", to, channel="email", content=content))["deliveries"]
    assert (await ended(admin, made))["state"] == "sent"
    [mail] = world.mails(ada)
    assert mail.subject == "1.234,50 €"
    # By the clock of Berlin it is the next day.
    at = "23. November 2026, 00:05"
    said = f"1.234,50 € | 1. März 2026 | {at} | 08:30 | ja | https://x.test/?a=b&c | -1.234.567,25 | Ada"
    assert mail.text.strip() == said
    assert mail.html.strip() == f"<p>https://x.test/?a=b&amp;c {at}</p>"
    texts = {name: str(value).lower() if name == "premium" else str(value) for name, value in VALUES.items()}
    texts |= {"name": "Ada", "at": VALUES["at"]}
    for language, values in ((None, VALUES), ("fr-CA", texts)):
        body = {"content": {**CONTENT, **({"language": language} if language else {})}}
        [made] = (await send(admin, bot, {"address": chat, "variables": values}, **body))["deliveries"]
        assert (await ended(admin, made))["state"] == "sent"
    english, french = [each["text"] for each in await telegram.effects(chat)]
    assert english == ENGLISH
    assert french.startswith("1 234,50 € | 1 mars 2026 | 22 novembre 2026, 23 h 05 UTC | 08 h 30 | oui")


@pytest.mark.promise("N64")
async def test_value_of_another_type_is_refused_with_its_path(admin: Person, bot: str, chat: str) -> None:
    body = {"channel": "telegram", "account": bot, "content": CONTENT}
    cases = [(name, value) for name, values in WRONG.items() for value in values]
    to = [{"address": chat, "variables": {**VALUES, name: value}} for name, value in cases]
    answer = await admin.call("POST", "/deliveries", json={**body, "to": [{"address": chat, "variables": VALUES}, *to]})
    assert fields(answer) == [f"to.{place}.variables.{name}" for place, (name, _) in enumerate(cases, 1)][:50]
    # JSON has lists and nothing as well; a name that nobody has declared is a text like any other.
    for value in (None, [1], {"a": 1}):
        wrong = {**body, "to": [{"address": chat, "variables": {**VALUES, "count": value}}]}
        assert fields(await admin.call("POST", "/deliveries", json=wrong)) == ["to.0.variables.count"]
    plain = {"content": {"text": "{{a}} {{b}}"}, "send_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    await send(admin, bot, {"address": chat, "variables": {"a": "1.234,50", "b": 7, "more": "x"}}, **plain)


@pytest.mark.promise("N64")
@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"text": "{{a}}", "variables": {"b": {"type": "date"}}}, "content.variables.b"),
        ({"text": "{{throttled_count}}", "variables": {"throttled_count": {"type": "number"}}},
         "content.variables.throttled_count"),
        ({"text": "{{a}}", "variables": {"a": {"type": "money"}}}, "content.variables.a.money.currency"),
        ({"text": "{{a}}", "variables": {"a": {"type": "money", "currency": "D A"}}},
         "content.variables.a.money.currency"),
        ({"text": "{{a}}", "variables": {"a": {"type": "money", "currency": "XXX"}}},
         "content.variables.a.money.currency"),
        ({"text": "{{a}}", "variables": {"a": {"type": "datetime", "timezone": "../etc"}}},
         "content.variables.a.datetime.timezone"),
        ({"text": "{{a}}", "variables": {"a": {"type": "colour"}}}, "content.variables.a"),
        ({"text": "{{a}}", "language": "{{a}}"}, "content.language"),
    ],
)  # fmt: skip
async def test_declaration_that_means_nothing_is_refused(admin: Person, content: Any, path: str) -> None:
    to = [{"address": "a@example.test", "variables": {"a": "1"}}]
    body = {"channel": "email", "content": {"subject": "x", **content}}
    assert path in fields(await admin.call("POST", "/deliveries", json={**body, "to": to}))
    assert path in fields(await admin.call("POST", "/campaigns", json={**body, "name": "x"}))


async def test_button_may_lead_to_an_address_of_its_reader(admin: Person, world: World) -> None:
    button = {"title": "Pay", "url": "{{link}}"}
    body = {"subject": "x", "text": "x", "html": "<p>x</p>", "buttons": [button], "variables": {"link": KINDS["link"]}}
    address = f"{uuid4().hex}@example.test"
    to = {"address": address, "variables": {"link": VALUES["link"]}}
    [made] = (await send(admin, "smtp", to, channel="email", content=body))["deliveries"]
    assert (await ended(admin, made))["state"] == "sent"
    [mail] = world.sandbox.postbox.mailbox.newest_first(address)
    assert f'<a href="{VALUES["link"].replace("&", "&amp;")}">Pay</a>' in mail.html
    script = {"address": address, "variables": {"link": "javascript:alert(1)"}}
    asked: dict[str, Any] = {"channel": "email", "to": [script], "content": body}
    assert fields(await admin.call("POST", "/deliveries", json=asked)) == ["to.0.variables.link"]
    # Of any other type, or none, it is no address.
    for kinds in ({}, {"link": {"type": "text"}}):
        media = {"kind": "image", "url": "{{link}}"}
        wrong = {**asked, "to": [to], "content": {**body, "media": media, "url": "{{link}}", "variables": kinds}}
        found = fields(await admin.call("POST", "/deliveries", json=wrong))
        assert {"content.url", "content.media.url", "content.buttons.0.url"} <= set(found)
    digest = {"window": {"kind": "fixed", "seconds": 60}, "content": {"text": "{{items}}", "url": "{{subject}}"}}
    assert fields(await admin.call("PUT", "/categories/any", json={"digest": digest})) == ["digest"]


async def test_contents_of_a_route_declare_their_variables_together(
    world: World, admin: Person, bot: str, chat: str
) -> None:
    kinds = {"n": {"type": "number"}}
    first = {"channel": "telegram", "account": bot, "content": {"text": "{{n}}", "variables": kinds, "language": "de"}}

    def asked(**content: Any) -> dict[str, Any]:
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        steps = [{"channel": "email", "content": {"subject": "x", **content}}]
        to = [{"address": chat, "variables": {"n": 1000.5, "day": "2026-01-02"}}]
        return {**first, "to": to, "fallback": steps, "send_at": later}

    path = "fallback.0.content"
    other = {"text": "{{n}}", "variables": {"n": {"type": "text"}}}
    assert fields(await admin.call("POST", "/deliveries", json=asked(**other))) == [f"{path}.variables.n"]
    spoken = asked(text="x", language="en")
    assert fields(await admin.call("POST", "/deliveries", json=spoken)) == [f"{path}.language"]
    good = asked(text="{{n}} {{day}}", variables={**kinds, "day": {"type": "date"}})
    answer = await admin.call("POST", "/deliveries", json=good)
    assert answer.status_code == 202, answer.text
    # What is stored is words, and nothing is left to do for who sends it.
    [row] = await world.sql("SELECT d.variables, b.content, b.route FROM delivery AS d JOIN batch AS b "
                            "ON b.id = d.batch_id WHERE b.id = $1::text::uuid", answer.json()["id"])  # fmt: skip
    assert '"1.000,5"' in row["variables"]
    assert '"2. Januar 2026"' in row["variables"]
    assert "declared" not in row["content"] + row["route"]
    assert "number" not in row["content"] + row["route"]


@pytest.mark.promise("N64")
async def test_campaign_leaves_out_whose_values_are_wrong_or_refuses(
    world: World, admin: Person, make_bot: MakeBot, telegram: Outside
) -> None:
    bot = await make_bot(daily_limit=0)
    content = {"text": "{{name}}: {{amount}}", "language": "de",
               "variables": {"amount": {"type": "money", "currency": "EUR"}}}  # fmt: skip
    chats = [str((await telegram.order("chats", id=new_chat()))["id"]) for _ in range(5)]
    values = ["1234.5", "a lot", "", 7, "1,5"]
    to = [
        {"address": each, "variables": {"name": "A", "amount": value}}
        for each, value in zip(chats, values, strict=True)
    ]
    entry = {"channel": "telegram", "address": chats[4], "category": "*"}
    assert (await admin.call("POST", "/suppressions", json=entry)).status_code == 204
    given = {"channel": "telegram", "account": bot, "content": content}
    assert fields(
        await admin.call("POST", "/campaigns", json={"name": "x", **given, "defaults": {"amount": "nothing"}})
    ) == ["defaults.amount"]
    made = await campaign(admin, *to, **given, defaults={"amount": 10})
    found = await step(admin, made, "check")
    assert (found["valid"], found["wrong"], found["suppressed"], found["wrong_variables"]) == (3, 1, 1, {"amount": 2})
    assert [(each["position"], each["name"], each["value"]) for each in found["examples"]] == [
        (2, "amount", "a lot"), (5, "amount", "1,5"),
    ]  # fmt: skip
    refused = await admin.call("POST", f"/campaigns/{made}/start")
    assert (fields(refused), refused.json()["code"]) == (["content.variables.amount"], "wrong_variables")
    assert "2 recipients have a wrong value: lines 2, 5." in refused.text
    assert (await admin.get(f"/campaigns/{made}"))["state"] == "draft"

    await admin.call("PATCH", f"/campaigns/{made}", json={"missing": "skip"})
    shown = {each["address"]: each for each in (await step(admin, made, "preview", sample=9))["results"]}
    assert [shown[each]["reason"] for each in chats] == [None, "wrong_variables", None, None, "suppressed"]
    assert shown[chats[0]]["variables"] == {"name": "A", "amount": "1.234,50 €"}
    assert shown[chats[0]]["content"]["variables"] == {}
    begun = await step(admin, made, "start")
    assert begun["counts"] == {"queued": 3, "failed": 1, "suppressed": 1}
    assert list(await recipients(admin, made, reason="wrong_variables")) == [chats[1]]
    await admin.call("PATCH", f"/accounts/{bot}", json={"daily_limit": None})
    assert (await over(admin, made))["counts"] == {"sent": 3, "failed": 1, "suppressed": 1}
    texts = [[found["text"] for found in await telegram.effects(each)] for each in chats]
    assert texts == [["A: 1.234,50 €"], [], ["A: 10,00 €"], ["A: 7,00 €"], []]
    assert await step(admin, made, "resend", states=["failed"]) == {"resent": 0}
    [failed] = (await recipients(admin, made, state="failed")).values()
    replayed = await admin.call("POST", "/dead-letters/replay", json={"ids": [failed["id"]]})
    assert [each["reason"] for each in replayed.json()["refused"]] == ["wrong_variables"]


@pytest.mark.promise("N58", "N62")
async def test_check_foresees_who_has_had_enough_and_says_that_nothing_is_collected(
    admin: Person, make_bot: MakeBot, decide: Decide
) -> None:
    bot = await make_bot(daily_limit=0)
    window = {"kind": "fixed", "seconds": 600}
    category = await decide(throttle={"most": 1, "seconds": 3600}, digest={"window": window})
    given = {"channel": "telegram", "account": bot, "category": category, "content": {"text": "Hello"}}
    crowd = [{"address": str(new_chat())} for _ in range(3)]
    first, second = await campaign(admin, *crowd[:2], **given), await campaign(admin, *crowd, **given)
    found = await step(admin, second, "check")
    assert (found["valid"], found["throttled"]) == (3, 0)
    assert found["notes"] == ["The digest of this category does not apply to campaigns: each message goes by itself."]
    await step(admin, first, "start")
    # Looking takes nothing, however often.
    for _ in range(2):
        found = await step(admin, second, "check")
        assert (found["valid"], found["throttled"]) == (1, 2)
    assert (await step(admin, second, "start"))["counts"] == {"queued": 1, "suppressed": 2}
    for each in (first, second):
        await step(admin, each, "cancel")
    other = await campaign(admin, *crowd, **{**given, "category": "general"})
    found = await step(admin, other, "check")
    assert (found["throttled"], found["notes"]) == (0, [])


async def test_file_and_trial_of_a_campaign_know_its_types(admin: Person, world: World) -> None:
    content = {"subject": "{{amount}}", "text": "x", "variables": {"amount": {"type": "money", "currency": "KWD"}}}
    to = (await admin.call("POST", "/audiences", json={"name": "x", "channel": "email"})).json()["id"]
    rows = f"email,amount,other\n{uuid4().hex}@x.test,1.5,a\n{uuid4().hex}@x.test,1.2345,b\n"
    headers = {"Content-Type": "text/csv"}
    assert (await admin.call("PUT", f"/audiences/{to}/file", content=rows, headers=headers)).status_code == 200
    made = await campaign(admin, audience=to, content=content)
    found = await step(admin, made, "check")
    # The line of the file.
    assert [(each["position"], each["message"]) for each in found["examples"]] == [(3, "KWD has 3 decimals.")]
    tester = f"{uuid4().hex}@example.test"
    asked = {"to": [tester], "variables": {"amount": "x"}}
    assert fields(await admin.call("POST", f"/campaigns/{made}/test", json=asked)) == ["to.0.variables.amount"]
    batch = await step(admin, made, "test", to=[tester], variables={"amount": 1.5})
    assert (await ended(admin, batch["deliveries"][0]))["state"] == "sent"
    assert world.sandbox.postbox.mailbox.newest_first(tester)[0].subject == "1.500 KWD"


async def test_digest_declares_nothing(admin: Person) -> None:
    content = {"text": "{{count}}", "variables": {"count": {"type": "number"}}}
    digest = {"window": {"kind": "fixed", "seconds": 60}, "content": content}
    assert fields(await admin.call("PUT", "/categories/any", json={"digest": digest})) == ["digest"]


@pytest.mark.promise("N64")
@given(st.decimals(-(10**14), 10**14, places=2), st.sampled_from(WRITTEN))
def test_amount_is_never_another_one(amount: Decimal, language: str) -> None:
    content = Content.model_validate({"text": "{{a}}", "variables": {"a": {"type": "money", "currency": "CHF"}}})
    said = wording.of([content]).of({"a": f"{amount:f}"}, language)["a"]
    words = languages.values_of(language)
    words = {**words, **words.get("in_money", {})}
    back = said.replace("CHF", "").replace(" ", "").replace(words["group"], "").replace(words["decimal"], ".")
    assert Decimal(back) == amount


@pytest.mark.parametrize("tag", sorted(languages.TAGS))
def test_every_language_writes_values(tag: str) -> None:
    words = languages.of(tag).values
    assert words.keys() == languages.of("en").values.keys()
    assert (len(words["months"]), len(set(words["months"]))) == (12, 12)
    assert words["date"].format(day=1, month="x", year=2) != words["date"]
    assert words["datetime"].format(date="x", time="y") != words["datetime"]
    assert words["time"].format(hour=8, minute=5) != words["time"]
    assert words["seconds"].format(hour=8, minute=5, second=7) != words["seconds"]
    assert {"{amount}", "{currency}"} <= set(re.findall("{[^}]*}", words["money"]))
    assert words["decimal"] != words["group"]
    known = words.keys() | {"symbols", "halves", "in_money"}
    assert all(region.keys() <= known for region in languages.words(tag)["shared"]["regions"].values())


@pytest.mark.promise("N64")
@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "-1,234.5 | 1,234.50 € | -1,234.50 USD | 2 January 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("en-GB", "-1,234.5 | €1,234.50 | -USD 1,234.50 | 2 January 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("en_us", "-1,234.5 | €1,234.50 | -$1,234.50 | January 2, 2026, 2:05 PM UTC | 12:05 AM | 2:05:30 PM"),
        ("en-Latn-AU", "-1,234.5 | €1,234.50 | -USD 1,234.50 | 2 January 2026, 2:05 pm UTC | 12:05 am | 2:05:30 pm"),
        ("de-AT", "-1 234,5 | € 1.234,50 | -USD 1.234,50 | 2. Jänner 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("de-CH", "-1'234.5 | € 1'234.50 | -USD 1'234.50 | 2. Januar 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("es-419", "-1,234.5 | €1,234.50 | -USD 1,234.50 | 2 de enero de 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("fr-CA", "-1 234,5 | 1 234,50 € | -1 234,50 USD | 2 janvier 2026, 14 h 05 UTC | 00 h 05 | 14 h 05 min 30 s"),
        # Written as the language, which of Portuguese is English.
        ("de-BE", "-1.234,5 | 1.234,50 € | -1.234,50 USD | 2. Januar 2026, 14:05 UTC | 00:05 | 14:05:30"),
        ("pt-BR", "-1,234.5 | 1,234.50 € | -1,234.50 USD | 2 January 2026, 14:05 UTC | 00:05 | 14:05:30"),
    ],
)
def test_region_of_a_language_writes_values_as_it_does(language: str, said: str) -> None:
    kinds: dict[str, Any] = {
        "count": {"type": "number"}, "euros": {"type": "money", "currency": "EUR"},
        "dollars": {"type": "money", "currency": "USD"}, "at": {"type": "datetime"},
        "early": {"type": "time"}, "late": {"type": "time"},
    }  # fmt: skip
    values = {"count": "-1234.5", "euros": "1234.5", "dollars": "-1234.5", "at": "2026-01-02T15:05:59+01:00",
              "early": "00:05:00", "late": "14:05:30"}  # fmt: skip
    content = Content.model_validate({"text": "{{count}}", "variables": kinds, "language": language})
    assert " | ".join(wording.of([content]).of(values).values()) == said
