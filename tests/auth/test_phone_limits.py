"""What texting costs at most: by phone, address, network, country and in all."""

import pytest

from libs.testing.clients import some_address
from tests.auth.conftest import OpenApi
from tests.auth.phones import Phone, count, new_address, together

HOUR = 3600


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


@pytest.mark.promise("A14", "K37")
async def test_eleventh_request_of_an_address_is_refused(phone: Phone) -> None:
    ip = new_address()
    answers = await together(*(Phone.new(phone.api).ask(ip=ip) for _ in range(12)))
    assert sorted(a.status_code for a in answers) == [202] * 10 + [429] * 2
    wait = int(next(a for a in answers if a.status_code == 429).headers["Retry-After"])
    assert 0 < wait <= HOUR + 1
    phone.api.clock.advance(wait)
    assert (await phone.ask(ip=ip)).status_code == 202


@pytest.mark.promise("A14")
async def test_address_of_version_six_counts_as_its_network(phone: Phone) -> None:
    network = new_address().rsplit(":", 4)[0]
    answers = [await Phone.new(phone.api).ask(ip=f"{network}:1:2:3:{n:x}") for n in range(1, 12)]
    assert [a.status_code for a in answers] == [202] * 10 + [429]


@pytest.mark.promise("A14", "L7")
@pytest.mark.parametrize("number", ["+499001234567", "+18005550100", "+19005550100", "+97912345678", "+881612345678"])
async def test_expensive_number_gets_no_message(phone: Phone, number: str) -> None:
    expensive, before = Phone(phone.api, number), count("withheld", reason="expensive")
    assert (await expensive.ask()).status_code == 202
    assert await expensive.texts() == []
    assert count("withheld", reason="expensive") == before + 1


@pytest.mark.promise("A14", "L7")
async def test_country_that_is_not_listed_gets_no_message(open_api: OpenApi) -> None:
    async with open_api(sms_countries="+44, us") as api:
        unlisted, before = Phone.new(api), count("withheld", reason="country")
        assert (await unlisted.ask()).status_code == 202
        assert await unlisted.texts() == []
        assert count("withheld", reason="country") == before + 1
        for number in ("+447400123456", "+12015550123"):
            await api.sql("DELETE FROM phone_codes WHERE phone = :phone", phone=number)
            assert (await Phone(api, number).sign_in()).status_code == 200


@pytest.mark.parametrize("country", ["Germany", "+0", "49", "+999"])
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
        before = count("withheld", reason=reason)
        # A window of its own: other tests have sent messages.
        api.clock.advance(30 * 24 * HOUR)
        phone = Phone.new(api)
        assert (await phone.ask()).status_code == 202
        assert await phone.texts() == []
        assert count("withheld", reason=reason) == before + 1
