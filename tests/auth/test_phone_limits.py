"""What texting costs at most: by phone, address, network, country and in all."""

import re
from typing import Any

import httpx2
import pytest

from libs.testing.clients import some_address
from tests.auth.api import Api
from tests.auth.conftest import OpenApi
from tests.auth.phones import Phone, new_address, new_phone, refusal, together, withheld

HOUR = 3600
CHANGE = "/api/v1/users/me/phone"
SATELLITES = ["+881612345678", "+870773111632", "+8835100001234"]


def shown(answer: httpx2.Response) -> tuple[object, ...]:
    """All that somebody sees who asks for a code, but the names of the challenge and the request."""
    body = {**answer.json(), "challenge_id": None}
    ignored = {"x-request-id", "x-request-duration", "x-query-time"}
    return answer.status_code, body, {name: value for name, value in answer.headers.items() if name not in ignored}


def numbers(prefix: str) -> str:
    """Nobody else's either, but elsewhere."""
    return new_phone(prefix, 6)


async def noted(api: Api, answer: httpx2.Response) -> tuple[str, str | None, str]:
    """What the log says of a text: the outcome, the reason, and what its number begins with."""
    query = (
        "SELECT result, reason, data->>'prefix' AS prefix FROM audit WHERE action = 'text.sent' AND request_id = :id"
    )
    [row] = await api.sql(query, id=answer.headers["X-Request-Id"])
    return row.result, row.reason, row.prefix


@pytest.mark.promise("A14", "K37")
async def test_second_request_within_a_minute_sends_nothing_and_leaves_the_code(phone: Phone) -> None:
    first, second = await phone.challenge(), await phone.challenge()
    assert len(await phone.texts()) == 1
    assert (await phone.verify(second, await phone.code())).status_code == 401
    assert (await phone.verify(first, await phone.code())).status_code == 200


@pytest.mark.promise("A14", "K37")
async def test_five_codes_an_hour_and_ten_a_day(phone: Phone) -> None:
    for expected in (5, 10, 10):
        for _ in range(7):
            await phone.challenge()
            phone.api.clock.advance(61)
        assert len(await phone.texts()) == expected
        phone.api.clock.advance(HOUR)
    phone.api.clock.advance(24 * HOUR)
    await phone.challenge()
    assert len(await phone.texts()) == 11


@pytest.mark.promise("A14")
async def test_twenty_requests_at_once_send_one_code(phone: Phone) -> None:
    answers = await together(*(phone.ask() for _ in range(20)))
    assert {a.status_code for a in answers} == {202}
    assert len(await phone.texts()) == 1


@pytest.mark.promise("A14")
async def test_address_gets_ten_messages_an_hour_and_the_same_answer_afterwards(phone: Phone) -> None:
    ip, phones, before = new_address(), [Phone.new(phone.api) for _ in range(13)], withheld("address")
    answers = await together(*(each.ask(ip=ip) for each in phones[:12]))
    assert [shown(answer) for answer in answers] == [shown(answers[0])] * 12
    assert sum([len(await each.texts()) for each in phones]) == 10
    assert withheld("address") == before + 2
    phone.api.clock.advance(HOUR)
    await phones[12].ask(ip=ip)
    assert len(await phones[12].texts()) == 1


@pytest.mark.promise("A14")
async def test_address_that_tried_codes_of_twenty_phones_gets_no_message_for_another(phone: Phone) -> None:
    ip, tried, before = new_address(), [Phone.new(phone.api) for _ in range(20)], withheld("phones")
    for each in tried:
        await each.verify(await each.challenge(), "x", ip=ip)
    phone.api.clock.advance(61)
    other = Phone.new(phone.api)
    answers = [await other.ask(ip=ip), await other.ask(ip=ip), await tried[0].ask(ip=ip)]
    assert [shown(answer) for answer in answers] == [shown(answers[0])] * 3
    assert [len(await each.texts()) for each in (other, tried[0])] == [0, 2]
    assert withheld("phones") == before + 2


async def test_address_that_keeps_to_one_phone_may_turn_to_another(phone: Phone) -> None:
    ip, other = new_address(), Phone.new(phone.api)
    challenge = await phone.challenge()
    await phone.verify(challenge, await phone.code())
    assert {(await phone.verify(challenge, "x", ip=ip)).status_code for _ in range(22)} == {401}
    await other.ask(ip=ip)
    assert len(await other.texts()) == 1


@pytest.mark.promise("A14")
async def test_limits_of_an_address_hold_for_numbers_that_one_wants_to_have(phone: Phone) -> None:
    ada, ip = await phone.api.register(), new_address()
    wanted, before = [Phone.new(phone.api) for _ in range(12)], withheld("address", "phone_change")
    answers = [await each.post(CHANGE, {"phone_number": each.number}, ada.access, ip=ip) for each in wanted]
    assert [shown(answer) for answer in answers] == [shown(answers[0])] * 12
    assert [len(await each.texts()) for each in wanted] == [1] * 10 + [0] * 2
    assert withheld("address", "phone_change") == before + 2


@pytest.mark.promise("A14")
async def test_address_of_version_six_counts_as_its_network(phone: Phone) -> None:
    network = new_address().rsplit(":", 4)[0]
    phones = [Phone.new(phone.api) for _ in range(11)]
    for n, each in enumerate(phones, start=1):
        await each.ask(ip=f"{network}:1:2:3:{n:x}")
    assert [len(await each.texts()) for each in phones] == [1] * 10 + [0]


@pytest.mark.promise("A14", "L1")
async def test_whatever_keeps_a_message_back_the_answer_is_the_same(open_api: OpenApi) -> None:
    async with open_api(sms_countries="DE,GB", sms_prefix_budgets="+4915=1000,+44=0") as api:
        blocked, phone, greedy = Phone.new(api), Phone.new(api), new_address()
        await blocked.fail_all_day()
        sent = [await phone.ask(), *[await Phone.new(api).ask(ip=greedy) for _ in range(10)]]
        kept = {
            "phone": await phone.ask(),
            "address": await Phone.new(api).ask(ip=greedy),
            "expensive": await Phone(api, numbers("+499001")).ask(),
            "country": await Phone(api, numbers("+33612")).ask(),
            "prefix": await Phone(api, numbers("+447400")).ask(),
            "blocked": await blocked.ask(),
        }
        assert {str(shown(answer)) for answer in [*sent, *kept.values()]} == {str(shown(sent[0]))}
        assert [await noted(api, answer) for answer in sent] == [("ok", None, "+4915")] * 11
        assert [(await noted(api, answer))[1] for answer in kept.values()] == list(kept)


@pytest.mark.promise("A14", "A44")
async def test_staff_sees_what_was_kept_back_and_who_asked_does_not(phone: Phone) -> None:
    ada, admin, number = await phone.api.register(), await phone.api.staff("admin"), numbers("+499001")
    asked = await phone.post(CHANGE, {"phone_number": number}, ada.access, ip="203.0.113.78")
    query = "/api/v1/admin/auth/audit?action=text.sent&result=refused&ip=203.0.113.78"
    row = (await phone.api.get(query, admin.access)).json()["results"][0]
    assert (row["reason"], row["request_id"]) == ("expensive", asked.headers["X-Request-Id"])
    assert row["data"] == {"kind": "phone_change", "prefix": "+49", "account": str(ada.id), "attempts": 1}
    assert number not in str(row)
    assert "text.sent" not in (await phone.api.get("/api/v1/users/me/audit", ada.access)).text
    assert await phone.api.audit("text.sent", actor_id=ada.id) == []


@pytest.mark.promise("A14", "A44")
async def test_flood_of_requests_is_noted_without_a_row_for_each(phone: Phone) -> None:
    dear, ip, before = Phone(phone.api, numbers("+499001")), new_address(), withheld("expensive")
    answers = [await dear.ask(ip=ip) for _ in range(10)]
    assert {str(shown(answer)) for answer in answers} == {str(shown(answers[0]))}
    assert withheld("expensive") == before + 10
    rows = await phone.api.sql("SELECT data->'attempts' AS n FROM audit WHERE action = 'text.sent' AND ip = :ip", ip=ip)
    assert sorted(row.n for row in rows) == [1, 10]


@pytest.mark.promise("A14", "L1")
async def test_guessing_does_not_tell_whether_a_code_was_sent(phone: Phone) -> None:
    """Neither by the answers, nor by the work, nor by when the phone is blocked."""
    dear, told = Phone(phone.api, numbers("+499001")), []
    for each in (phone, dear):
        answers = []
        for _ in range(2):
            challenge = await each.challenge()
            answers += [await each.verify(challenge, "x") for _ in range(6)]
            phone.api.clock.advance(61)
        told.append([refused(answer) for answer in answers])
    assert len(await dear.texts()) == 0
    assert [answer[0] for answer in told[0]] == [401] * 11 + [429]
    assert told[0] == told[1]


def refused(answer: httpx2.Response) -> tuple[Any, ...]:
    """The seconds of a wait are whole, and go by between one phone and the other."""
    status, body, _ = refusal(answer)
    return status, {**body, "detail": re.sub(r"\d+", "n", body["detail"])}, answer.headers["X-Database-Queries"]


@pytest.mark.promise("A14")
async def test_log_of_an_account_does_not_tell_whether_a_code_was_sent(phone: Phone) -> None:
    ada, dear = await phone.api.register(), Phone(phone.api, numbers("+499001"))
    for each in (phone, dear):
        asked = await each.post(CHANGE, {"phone_number": each.number}, ada.access)
        await each.post(f"{CHANGE}/confirm", {"challenge_id": asked.json()["challenge_id"], "code": "x"}, ada.access)
    entries = await phone.api.audit("phone.changed", subject_id=ada.id)
    assert [(entry.result, entry.reason) for entry in entries] == [("refused", "code_wrong")] * 2


@pytest.mark.promise("A14", "L7")
@pytest.mark.parametrize("number", ["+499001234567", "+18005550100", "+19005550100", "+97912345678", *SATELLITES])
async def test_expensive_number_gets_no_message(phone: Phone, number: str) -> None:
    expensive, before = Phone(phone.api, number), withheld("expensive")
    assert (await expensive.ask()).status_code == 202
    assert await expensive.texts() == []
    assert withheld("expensive") == before + 1


@pytest.mark.promise("A14", "L7")
async def test_country_that_is_not_listed_gets_no_message(open_api: OpenApi) -> None:
    async with open_api(sms_countries="+44, us") as api:
        unlisted, before = Phone.new(api), withheld("country")
        assert (await unlisted.ask()).status_code == 202
        assert await unlisted.texts() == []
        assert withheld("country") == before + 1
        for number in ("+447400123456", "+12015550123"):
            await api.sql("DELETE FROM phone_codes WHERE phone = :phone", phone=number)
            assert (await Phone(api, number).sign_in()).status_code == 200


@pytest.mark.parametrize("country", ["Germany", "+0", "49", "+049", "+999"])
async def test_country_that_does_not_exist_stops_the_start(open_api: OpenApi, country: str) -> None:
    with pytest.raises(ValueError, match="region"):
        async with open_api(sms_countries=country):
            pass


@pytest.mark.promise("A14", "L7")
async def test_many_phones_from_neighbours_get_no_more_messages(open_api: OpenApi) -> None:
    async with open_api(sms_network_budget=8) as api:
        six, four = new_address().rsplit(":", 5)[0] + ":{:x}:1:1:1:1", some_address().rpartition(".")[0] + ".{}"
        for addresses in (six, four):
            phones = [Phone.new(api) for _ in range(10)]
            answers = [await each.ask(ip=addresses.format(n)) for n, each in enumerate(phones, start=1)]
            assert {a.status_code for a in answers} == {202}
            assert [len(await each.texts()) for each in phones] == [1] * 8 + [0] * 2


@pytest.mark.promise("A14", "L7")
@pytest.mark.parametrize(("budget", "reason"), [("sms_prefix_budget", "prefix"), ("sms_global_budget", "budget")])
async def test_spent_budget_stops_messages(open_api: OpenApi, budget: str, reason: str) -> None:
    async with open_api(**{budget: 0}) as api:
        before = withheld(reason)
        # A window of its own: other tests have sent messages.
        api.clock.advance(30 * 24 * HOUR)
        phone = Phone.new(api)
        assert (await phone.ask()).status_code == 202
        assert await phone.texts() == []
        assert withheld(reason) == before + 1


@pytest.mark.promise("A14", "L7")
async def test_prefix_has_a_budget_of_its_own_for_a_day(open_api: OpenApi) -> None:
    async with open_api(sms_prefix_budgets="+4915=3, +491512=1, +1=2, +1876=0, +44=0", sms_prefix_budget=1) as api:
        api.clock.advance(60 * 24 * HOUR)

        async def sent(prefix: str) -> list[int]:
            phones = [Phone(api, numbers(prefix)) for _ in range(4)]
            for each in phones:
                await each.ask()
            return [len(await each.texts()) for each in phones]

        budgets = {"+4915123": 1, "+4915234": 3, "+491712": 1, "+12025": 2, "+18762": 0, "+447400": 0, "+33612": 1}
        assert {prefix: sum(await sent(prefix)) for prefix in budgets} == budgets
        api.clock.advance(23 * HOUR)
        assert sum(await sent("+4915234")) == 0
        api.clock.advance(2 * HOUR)
        assert await sent("+4915234") == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "budgets", ["+49", "49=1", "+49=-1", "+49=many", "+0=1", "+049=1", "+999=1", "+49=1,+49=2", "+=1"]
)
async def test_budget_that_is_none_stops_the_start(open_api: OpenApi, budgets: str) -> None:
    with pytest.raises(ValueError, match="texts a day"):
        async with open_api(sms_prefix_budgets=budgets):
            pass
