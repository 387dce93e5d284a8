"""Who is let in from where, and what happens to the database meanwhile."""

import asyncio
import os
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.domain.client_ip import Callers, networks
from gateway.domain.country import Countries, Rules, country_of
from gateway.domain.shadow import Shadow
from tests.gateway.conftest import Door, Parts, Start

GERMAN, KENYAN, NOWHERE = "192.0.2.10", "198.51.100.10", "203.0.113.10"
ANSWER = "/api/v1/messages"


def rules(**default: object) -> Parts:
    return {"countries": {"default": default}}


def write(path: Path, countries: dict[str, str], *, flat: bool = False, kind: str = "GeoLite2-Country") -> Path:
    """A database as operators have them: networks of IPv4 and IPv6 with their country."""
    writer = MMDBWriter(6, kind, ipv4_compatible=True)
    for network, code in countries.items():
        writer.insert_network(IPSet([network]), {"country_code": code} if flat else {"country": {"iso_code": code}})
    fresh = path.with_suffix(".new")
    writer.to_db_file(str(fresh))
    fresh.replace(path)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write(
        tmp_path / "country.mmdb",
        {"192.0.2.0/24": "DE", "198.51.100.0/24": "KE", "2001:db8::/32": "KE", "2001:db9::/32": "DE"},
    )


@pytest.mark.promise("G6", "G11")
async def test_deny_list_refuses_its_countries_only(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(deny=["ke"]))
    refused = await door.ask(ANSWER, caller=KENYAN)
    assert refused.status == 403
    assert b'"code": "country_blocked"' in refused.body
    assert b"KE" not in refused.body
    assert door.service.seen == []
    assert (await door.ask(ANSWER, caller=GERMAN)).status == 200
    assert door.service.last.get("x-client-country") == "DE"
    assert (await door.ask(ANSWER, caller=NOWHERE)).status == 200
    assert "x-client-country" not in door.service.last.names()


@pytest.mark.promise("G6", "G7")
async def test_allow_list_admits_its_countries_only(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(allow=["DE"]))
    statuses = [(await door.ask(ANSWER, caller=who)).status for who in (GERMAN, KENYAN, NOWHERE)]
    assert statuses == [200, 403, 403]


@pytest.mark.promise("W1")
async def test_stranger_cannot_claim_a_country(open_door: Start, database: Path) -> None:
    policy = rules(allow=["DE"], private="deny")
    door = await open_door(country_database=database, policy=policy, trusted_proxies=[])
    answer = await door.ask(ANSWER, caller=GERMAN, X_Country="DE", X_Client_Country="DE")
    assert answer.status == 403


@pytest.mark.promise("G6")
async def test_hooks_unsubscription_and_health_know_no_borders(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(deny=["KE"]))
    paths = ["/hooks/sms", "/u/token", "/health/live", "/api/v1/docs", "/ws/", "/nowhere"]
    statuses = [(await door.ask(path, caller=KENYAN)).status for path in paths]
    assert statuses == [200, 200, 200, 403, 403, 403]


@pytest.mark.promise("G6")
async def test_exempt_networks_are_let_in(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(deny=["KE"], exempt=["198.51.100.10/32"]))
    assert (await door.ask(ANSWER, caller=KENYAN)).status == 200
    assert (await door.ask(ANSWER, caller="198.51.100.11")).status == 403


@pytest.mark.promise("G6")
async def test_group_of_routes_has_rules_of_its_own(open_door: Start, database: Path) -> None:
    policy: Parts = {
        "countries": {"default": {"deny": ["KE"]}, "staff": {"allow": ["DE"], "status": 451}, "open": {}},
        "routes": {
            "/api/v1/admin/auth": {"countries": "staff"},
            "/api/v1/search": {"countries": "open"},
            "/api/v1/blocks": {"countries": "none"},
        },
    }
    door = await open_door(country_database=database, policy=policy)
    # The audit log has a route of its own below, and no rules of its own.
    paths = [
        "/api/v1/admin/auth/users",
        "/api/v1/admin/auth/audit",
        "/api/v1/search",
        "/api/v1/blocks",
        ANSWER,
        "/nowhere",
    ]
    found = {who: [(await door.ask(path, caller=who)).status for path in paths] for who in (GERMAN, KENYAN, NOWHERE)}
    assert found == {
        GERMAN: [200, 200, 200, 200, 200, 404],
        KENYAN: [451, 451, 200, 200, 403, 403],
        NOWHERE: [451, 451, 200, 200, 200, 404],
    }


@pytest.mark.promise("G6")
async def test_refusal_for_reasons_of_law_says_so_and_no_more(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(deny=["KE"], status=451))
    refused = await door.ask(ANSWER, caller=KENYAN)
    assert (refused.status, b'"code": "country_blocked"' in refused.body, b"KE" in refused.body) == (451, True, False)
    client = await door.connect()
    await client.send(f"GET {ANSWER} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {KENYAN}\r\n\r\n".encode() * 2)
    assert [(await client.answer()).status for _ in range(2)] == [451, 451]


@pytest.mark.promise("G40")
async def test_rule_in_shadow_refuses_nobody_and_tells_whom_it_would(
    open_door: Start, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.domain.shadow.monotonic", lambda: now)
    name, rule = "parley_gateway_shadowed_total", {"rule": "countries.trial"}
    before = REGISTRY.get_sample_value(name, rule) or 0
    policy: Parts = {
        "countries": {"trial": {"deny": ["KE"], "shadow": True}},
        "routes": {ANSWER: {"countries": "trial"}},
    }
    with capture_logs() as lines:
        door = await open_door(country_database=database, policy=policy)
        asked = [(await door.ask(ANSWER, caller=who)).status for who in (KENYAN, GERMAN, KENYAN, KENYAN)]
        assert asked == [200] * 4
        assert door.service.last.get("x-client-country") == "KE"
        now += 1
        async with asyncio.timeout(20):
            while (REGISTRY.get_sample_value(name, rule) or 0) < before + 3:
                await asyncio.sleep(0.01)
    assert REGISTRY.get_sample_value(name, rule) == before + 3
    told = [line for line in lines if line["event"] == "would_have_refused"]
    assert {line["rule"] for line in told} == {"countries.trial"}
    assert sum(line["requests"] for line in told) == 3
    assert len(told) <= 2


@pytest.mark.promise("G40")
def test_rule_in_shadow_is_told_of_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.domain.shadow.monotonic", lambda: now)
    shadow = Shadow()
    with capture_logs() as lines:
        for second in range(3):
            now = 1000.0 + second
            for _ in range(100):
                shadow.cast("countries.trial")
                shadow.sweep()
        assert [line["requests"] for line in lines] == [1, 100, 100]


def admits(rules: Rules, who: str, *, peer: str = "10.0.0.1", country: str | None = None) -> bool:
    caller = Callers(["10.0.0.0/8", "192.0.2.1/32"]).resolve(peer, [who.encode()])
    return rules.admits(caller, country)


@pytest.mark.promise("G7", "W15")
def test_unknown_country_follows_its_rule() -> None:
    deny, allow = frozenset({"KE"}), frozenset({"DE"})
    assert admits(Rules(deny=deny), NOWHERE)
    assert not admits(Rules(deny=deny, unknown="deny"), NOWHERE)
    assert not admits(Rules(allow=allow), NOWHERE)
    assert admits(Rules(allow=allow, unknown="allow"), NOWHERE)
    assert admits(Rules(), NOWHERE)


@pytest.mark.promise("G7", "W15")
@pytest.mark.parametrize(("unknown", "status"), [("auto", 200), ("deny", 403)])
async def test_what_a_database_says_of_tor_is_no_country(
    open_door: Start, tmp_path: Path, unknown: str, status: int
) -> None:
    """Some write T1 for its exits. Such callers are from nowhere, and the rule for that decides."""
    path = write(tmp_path / "country.mmdb", {"192.0.2.0/24": "T1", "198.51.100.0/24": "DE"})
    door = await open_door(country_database=path, policy=rules(deny=["KE"], unknown=unknown))
    assert (await door.ask(ANSWER, caller=GERMAN)).status == status
    assert all("x-client-country" not in seen.names() for seen in door.service.seen)
    assert (await door.ask(ANSWER, caller=KENYAN)).status == 200


@pytest.mark.promise("G7", "W15")
@pytest.mark.parametrize("who", ["192.168.1.1", "127.0.0.1", "::1", "169.254.1.1", "100.64.1.1", "fe80::1", "fd00::1"])
def test_local_address_counts_only_when_the_connection_is_local(who: str) -> None:
    allow = frozenset({"DE"})
    assert admits(Rules(allow=allow), who)
    assert not admits(Rules(allow=allow), who, peer="192.0.2.1")
    assert admits(Rules(allow=allow, private="allow"), who, peer="192.0.2.1")
    assert not admits(Rules(allow=allow, private="deny"), who)


@pytest.mark.promise("G2")
def test_garbled_chain_has_no_country_and_is_not_local() -> None:
    assert not admits(Rules(allow=frozenset({"DE"})), "unknown")


@pytest.mark.promise("G8", "W15")
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (GERMAN, "DE"),
        (f"::ffff:{GERMAN}", "DE"),
        ("64:ff9b::c000:20a", "DE"),
        ("2002:c000:020a::1", "DE"),
        ("2001:db8::1", "KE"),
        ("2001:db9::1", "DE"),
        (NOWHERE, None),
        ("10.0.0.1", None),
    ],
)
def test_country_is_the_same_in_every_form_of_an_address(database: Path, who: str, expected: str | None) -> None:
    countries = Countries(database)
    assert countries.reload()
    for _ in range(2):
        assert countries.of(Callers([]).resolve(who, ())) == expected


@pytest.mark.promise("G10")
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"country": {"iso_code": "DE"}, "registered_country": {"iso_code": "US"}}, "DE"),
        ({"registered_country": {"iso_code": "US"}}, "US"),
        ({"country_code": "ke"}, "KE"),
        ({"country": "FR"}, "FR"),
        ({"continent": {"code": "EU"}}, None),
        ({"country": {"iso_code": "DEU"}}, None),
        ("DE", None),
        (None, None),
    ],
)
def test_records_of_all_makers_are_understood(record: object, expected: str | None) -> None:
    assert country_of(record) == expected


@pytest.mark.promise("G10")
def test_flat_database_works(tmp_path: Path) -> None:
    countries = Countries(write(tmp_path / "flat.mmdb", {"192.0.2.0/24": "DE"}, flat=True, kind="user-country"))
    assert countries.reload()
    assert countries.of(Callers([]).resolve(GERMAN, ())) == "DE"


@pytest.mark.promise("G9")
async def test_replaced_database_is_taken_up(open_door: Start, database: Path) -> None:
    door = await open_door(country_database=database, policy=rules(deny=["KE"]))
    assert (await door.ask(ANSWER, caller=GERMAN)).status == 200
    write(database, {"192.0.2.0/24": "KE"})
    assert await asyncio.to_thread(door.core.policy.countries.reload)
    assert (await door.ask(ANSWER, caller=GERMAN)).status == 403


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def scribbled(path: Path) -> None:
    path.write_bytes(b"\xab\xcd\xefMaxMind.com" + b"nonsense" * 100)


def removed(path: Path) -> None:
    path.unlink()


def of_another_kind(path: Path) -> None:
    writer = MMDBWriter(6, "GeoLite2-ASN", ipv4_compatible=True)
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"autonomous_system_number": 64500})
    writer.to_db_file(str(path))


@pytest.mark.promise("G9", "W15")
@pytest.mark.parametrize("damage", [truncated, emptied, scribbled, removed, of_another_kind])
def test_damaged_database_leaves_the_last_good_one(database: Path, damage: object) -> None:
    assert callable(damage)
    countries = Countries(database)
    assert countries.reload()
    damage(database)
    caller = Callers([]).resolve(GERMAN, ())
    assert countries.of(caller) == "DE"
    assert not countries.reload()
    assert countries.of(Callers([]).resolve("192.0.2.77", ())) == "DE"


@pytest.mark.promise("G9")
def test_older_database_is_not_taken(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    countries = Countries(database)
    assert countries.reload()
    with monkeypatch.context() as patch:
        patch.setattr("mmdb_writer.time.time", lambda: 1_000_000_000)
        write(database, {"192.0.2.0/24": "KE"})
    assert not countries.reload()
    assert countries.of(Callers([]).resolve(GERMAN, ())) == "DE"


@pytest.mark.promise("W15")
async def test_missing_database_leaves_everybody_unknown(open_door: Start, tmp_path: Path) -> None:
    lenient = await open_door(country_database=tmp_path / "none.mmdb", policy=rules(deny=["KE"]))
    assert (await lenient.ask(ANSWER, caller=KENYAN)).status == 200
    strict = await open_door(country_database=tmp_path / "none.mmdb", policy=rules(allow=["KE"]))
    assert (await strict.ask(ANSWER, caller=KENYAN)).status == 403


async def test_list_without_database_does_not_start(open_door: Start) -> None:
    with pytest.raises(ValueError, match="GATEWAY_COUNTRY_DATABASE"):
        await open_door(policy=rules(deny=["KE"]))


async def test_country_code_that_is_none_does_not_start(open_door: Start, database: Path) -> None:
    with pytest.raises(ValueError, match="Kenya"):
        await open_door(policy=rules(deny=["Kenya"]), country_database=database)


def test_networks_are_validated() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        networks(["nonsense"])


async def test_door_without_lists_knows_no_borders(door: Door) -> None:
    assert (await door.ask(ANSWER, caller=KENYAN)).status == 200
