"""Who is calling, however it is dressed up."""

import pytest

from gateway.domain.client_ip import Callers
from tests.gateway.conftest import Door, Start

TRUSTED = ["10.0.0.0/8", "fd00::/8"]


def client(peer: str, *forwarded: str) -> str:
    return Callers(TRUSTED).resolve(peer, [value.encode() for value in forwarded]).text


@pytest.mark.promise("G1", "W2")
@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "2.2.2.2", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.9.9.9", "10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_client_is_the_right_most_untrusted_hop(peer: str, forwarded: list[str], expected: str) -> None:
    assert client(peer, *forwarded) == expected


@pytest.mark.promise("G2", "W3")
@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_hop_may_have_a_port_and_other_spellings(hop: str, expected: str) -> None:
    assert client("10.0.0.1", hop) == expected


@pytest.mark.promise("G2", "W3")
@pytest.mark.parametrize(
    "hop",
    [
        "unknown",
        "localhost",
        "evil.example.com",
        "_hidden",
        "0x7f.1",
        "2130706433",
        "01.2.3.4",
        "127.1",
        "fe80::1%eth0",
        "1.2.3.4:",
        "1.2.3.4:999999",
        "1.2.3.4:65536",
        "1.2.3.4:x",
        "[::1",
        "[::1]x",
        "",
        "1.2.3.4 5.6.7.8",
        '"1.2.3.4"',
    ],
)
def test_garbage_is_nobody_and_the_last_trusted_hop_stands(hop: str) -> None:
    found = Callers(TRUSTED).resolve("10.0.0.1", [f"1.1.1.1, {hop}, 10.7.7.7".encode()])
    assert (found.text, found.garbled) == ("10.7.7.7", True)


@pytest.mark.promise("G2", "W3")
def test_long_chain_is_read_from_the_right_only() -> None:
    chain = "1.1.1.1, " * 500 + "198.51.100.1"
    assert client("10.0.0.1", chain) == "198.51.100.1"
    trusted_only = ", ".join(["10.0.0.9"] * 500)
    assert client("10.0.0.1", "9.9.9.9, " + trusted_only) == "10.0.0.9"


@pytest.mark.promise("G13")
def test_ipv6_callers_of_one_network_count_as_one() -> None:
    callers = Callers([])
    keys = {callers.resolve(f"2001:db8:1:2::{host:x}", ()).key for host in range(1, 9)}
    assert keys == {b"2001:db8:1:2::/64"}
    assert callers.resolve("2001:db8:1:3::1", ()).key not in keys


@pytest.mark.promise("W1")
async def test_stranger_cannot_name_another_address(open_door: Start) -> None:
    door = await open_door(trusted_proxies=[])
    await door.ask("/api/v1/messages", caller="203.0.113.9", Forwarded="for=203.0.113.9", X_Real_IP="203.0.113.9")
    assert door.service.last.get("x-forwarded-for") == "127.0.0.1"
    assert b"203.0.113.9" not in door.service.last.raw


@pytest.mark.promise("W2")
async def test_several_lines_of_any_spelling_are_one_chain(door: Door) -> None:
    await door.raw(
        b"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nx-FORWARDED-for: 2.2.2.2\r\n"
        b"X_Forwarded_For: 3.3.3.3\r\nForwarded: for=4.4.4.4\r\nX-Forwarded-For: 203.0.113.77, 127.0.0.1\r\n\r\n"
    )
    assert door.service.last.get("x-forwarded-for") == "203.0.113.77"


@pytest.mark.promise("W3")
async def test_huge_chain_is_too_large(door: Door) -> None:
    answer = await door.ask("/api/v1/messages", X_Forwarded_For="1.1.1.1," * 3000)
    assert answer.status == 431


CLOUDFLARE = ["198.41.128.0/17", "2606:4700::/32"]


def via_cloudflare(peer: str, forwarded: str | None, *connecting: str) -> tuple[str, bool]:
    """Who it is, and whether nonsense was said."""
    callers = Callers(TRUSTED, cloudflare=CLOUDFLARE)
    chain = [] if forwarded is None else [forwarded.encode()]
    found = callers.resolve(peer, chain, [value.encode() for value in connecting])
    return found.text, found.garbled


@pytest.mark.promise("G3")
@pytest.mark.parametrize(
    ("peer", "forwarded", "connecting", "expected"),
    [
        ("198.41.128.1", None, "203.0.113.9", "203.0.113.9"),
        ("198.41.128.1", "9.9.9.9", "203.0.113.9", "203.0.113.9"),
        ("2606:4700::1", None, "2001:DB8::9", "2001:db8::9"),
        ("::ffff:198.41.128.1", None, "::ffff:203.0.113.9", "203.0.113.9"),
        # Behind a proxy of ours that Cloudflare calls.
        ("10.0.0.1", "9.9.9.9, 198.41.128.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "9.9.9.9, 198.41.128.1, 10.0.0.2", "203.0.113.9", "203.0.113.9"),
        # From anywhere else it is somebody's invention.
        ("192.0.2.1", None, "203.0.113.9", "192.0.2.1"),
        ("192.0.2.1", "198.41.128.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, "203.0.113.9", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "198.41.128.1, 192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("198.41.128.1", "9.9.9.9", None, "198.41.128.1"),
    ],
)
def test_word_of_cloudflare_counts_from_its_own_addresses_only(
    peer: str, forwarded: str | None, connecting: str | None, expected: str
) -> None:
    assert via_cloudflare(peer, forwarded, *([connecting] if connecting else [])) == (expected, False)


@pytest.mark.promise("G3")
@pytest.mark.parametrize(
    "connecting",
    [[""], ["unknown"], ["203.0.113.9, 203.0.113.10"], ["203.0.113.9:1"], ["203.0.113.9", "203.0.113.10"], ["0x7f.1"]],
)
def test_nonsense_of_cloudflare_leaves_the_other_rule(connecting: list[str]) -> None:
    assert via_cloudflare("10.0.0.1", "9.9.9.9, 198.41.128.1", *connecting) == ("198.41.128.1", True)
    assert via_cloudflare("198.41.128.1", "9.9.9.9", *connecting) == ("198.41.128.1", True)
    assert via_cloudflare("192.0.2.1", None, *connecting) == ("192.0.2.1", False)


@pytest.mark.promise("G3")
async def test_field_of_cloudflare_is_read_where_it_is_configured_and_passes_nowhere(open_door: Start) -> None:
    for networks, expected in (([], "127.0.0.1"), (["127.0.0.1/32"], "203.0.113.9")):
        door = await open_door(trusted_proxies=[], cloudflare_networks=networks)
        await door.ask("/api/v1/messages", CF_Connecting_IP="203.0.113.9")
        assert door.service.last.get("x-forwarded-for") == expected
        assert "cf-connecting-ip" not in door.service.last.names()
