"""One file says what holds at the door: what it may say, what is laid over what, and what a start makes of it."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.policy_file import PolicyFile, Refused, Terms
from gateway.domain.table import Route
from tests.architecture.tree import ROOT
from tests.gateway.conftest import Start

ANSWER = "/api/v1/messages"


def read(path: Path, text: str, *, database: bool = True) -> Terms:
    path.write_text(text)
    return PolicyFile(path, database=database).read()


def route(terms: Terms, prefix: str) -> Route:
    return next(each for each in terms.routes if each.name == prefix)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


# What it may say.


@pytest.mark.promise("G36")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it must be a mapping, as `version: 1`"),
        ("limits: {login: 1/h}", "version: is missing; the file begins with `version: 1`"),
        ("version: 2", "line 1, version: must be 1, not 2"),
        ("- version", "it must be a mapping"),
        ("version: 1\nlimit: {}", "line 2, limit: there is no such word; there are version, limits, networks"),
        ("version: 1\nlimits: [login]", "line 2, limits: must be a mapping"),
        ("version: 1\nlimits:\n  login: 10/week", "line 3, limits > login: .*must read like '10/min'"),
        ("version: 1\nlimits: {login: 10}", "limits > login: must be a text"),
        ("version: 1\nlimits: {Log in: 1/s}", "limits > Log in: 'Log in' is no name"),
        ("version: 1\nlimits: {login: null}", "routes > /api/v1/auth/login > limits > 1: 'login' is none of ip, user"),
        ("version: 1\nlimits: {ip: null}", "limits > ip: is missing"),
        ("version: 1\nlimits: {nobody: null}", "limits > nobody: there is none that could be taken away"),
        ("version: 1\nnetworks: {ipv6: 8}", "networks > ipv6: .*greater than or equal to 16"),
        ("version: 1\nnetworks: {ipv4: '24'}", "networks > ipv4: must be a number"),
        ("version: 1\ncountries: {default: null}", "countries > default: is missing"),
        ("version: 1\ncountries: {default: {deny: [Kenya]}}", "countries > default > deny: 'Kenya' is no country code"),
        ("version: 1\ncountries: {default: {deny: KE}}", "deny: must be a list, as "),
        ("version: 1\ncountries: {default: {exempt: [10.0.0.0/33]}}", "countries > default > exempt: '10.0.0.0/33'"),
        ("version: 1\ncountries: {default: {status: 404}}", "status: must be 403 or 451, not 404"),
        ("version: 1\ncountries: {default: {shadow: yes}}", "shadow: must be true or false"),
        ("version: 1\ncountries: {none: {}}", "countries > none: 'none' is no name"),
        ("version: 1\nroutes: {/ws: {owner: billing}}", "routes > /ws > owner: must be 'gateway', 'auth', .*'billing'"),
        ("version: 1\nroutes: {/new: {}}", "routes > /new > owner: is missing"),
        ("version: 1\nroutes: {/ws: {limits: [often]}}", "routes > /ws > limits > 0: 'often' is none of ip, user"),
        ("version: 1\nroutes: {/ws: {limits: [ip*0]}}", "limits > 0: 'ip.0' must read like 'user', or "),
        ("version: 1\nroutes: {/ws: {limits: [login*11]}}", "'login.11' could never be called; the burst is 10"),
        ("version: 1\nroutes: {/ws: {posts: [often]}}", "routes > /ws > posts > 0: 'often' is none of ip, user"),
        ("version: 1\nroutes: {/ws: {countries: staff}}", "countries: 'staff' is none of default, none"),
        ("version: 1\nroutes: {/ws: {body: huge}}", "routes > /ws > body: 'huge' is no size; write it as 512KiB"),
        ("version: 1\nroutes: {/ws: {body: -1}}", "body: -1 is no size"),
        ("version: 1\nroutes: {/ws: {tokens: checked}}", "tokens: there is no such word; there are owner, limits"),
        ("version: 1\nroutes: {ws: {owner: chat}}", "routes > ws: is no plain path; write it as /api/v1/things"),
        ("version: 1\nroutes: {/a//b: {owner: chat}}", "is no plain path"),
        ("version: 1\nroutes: {/a/../b: {owner: chat}}", "is no plain path"),
        ("version: 1\nroutes: {/a%2fb: {owner: chat}}", "is no plain path"),
        ("version: 1\nroutes: {/internal: {owner: auth}}", "below /internal is between the services"),
        ("version: 1\nroutes: {/internal/users: {owner: auth}}", "below /internal is between the services"),
        ("version: 1\nlimits: {login: 1/h}\nlimits: {}", "line 3: limits stands here a second time"),
        ("version: 1\nlimits: {login: 1/h, login: 2/h}", "line 2: login stands here a second time"),
        ("version: 1\nlimits: {login: &a 1/h, user: *a}", "line 2: anchors are not used here"),
        ("version: 1\nroutes: {/ws: &a {<<: *a}}", "anchors are not used here"),
        ("version: 1\nlimits: {login: !!python/object/apply:os.getcwd []}", "line 2: tags are not used here"),
        ("version: 1\nlimits: {[a]: 1/h}", "line 2: a key must be a word"),
        ("version: 1\nlimits: {login: 1/h", "line 2: expected ',' or '}'"),
        ("version: 1\n---\nversion: 1", "line 2: but found another document"),
        ("version: 1\nlimits: " + "[" * 5000, "it is nested too deeply"),
        ("version: 1\n#" + "x" * (1 << 20), "it is longer than 1 MiB"),
        ("version: 1\nlimits: {login: \x07}", "control|special characters|not allowed"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(file: Path, text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        read(file, text)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.promise("G36")
def test_all_mistakes_are_said_at_once(file: Path) -> None:
    with pytest.raises(Refused) as refused:
        read(file, "version: 1\nlimits: {login: often}\nroutes:\n  /ws: {body: huge}\n  //: {owner: chat}\n")
    assert [f"line {number}, " in str(refused.value) for number in (2, 4, 5)] == [True] * 3


@pytest.mark.promise("G36")
def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"version: \xff")
    for path, reason in ((tmp_path, "no such file"), (tmp_path / "none", "no such file"), (binary, "not UTF-8")):
        with pytest.raises(Refused, match=reason):
            PolicyFile(path).read()


@pytest.mark.promise("G6")
def test_lists_of_countries_need_a_database(file: Path) -> None:
    with pytest.raises(Refused, match=r"countries > default > deny: needs a database.*GATEWAY_COUNTRY_DATABASE"):
        read(file, "version: 1\ncountries: {default: {deny: [KE]}}", database=False)


@pytest.mark.promise("G6")
def test_norway_is_a_country(file: Path) -> None:
    assert read(file, "version: 1\ncountries: {default: {deny: [NO, de]}}").elsewhere.deny == {"NO", "DE"}


PIECES = (
    "version: 1\n|limits:\n|routes: |countries: |networks: | /ws: |{|}|[|]|:|,|\n|\n  |- |null|true|owner"
    "|chat|body|1e9MiB|10/min|ip|&a |*a|!!int |?|>|'|\u0085|\ufeff|\x00|%|---|#|1|0x10|-|<<|deny|=|2026-01-01"
)


@pytest.mark.promise("G36")
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES.split("|")), max_size=25).map("".join).map(str.encode) | st.binary(max_size=60))
def test_any_file_is_understood_or_refused(file: Path, data: bytes) -> None:
    file.write_bytes(b"version: 1\n" + data)
    with contextlib.suppress(Refused):
        assert "ip" in PolicyFile(file).read().limits


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/policies").glob("*.yaml")), ids=lambda path: path.name)
def test_files_of_the_project_are_good(path: Path) -> None:
    PolicyFile(path, database=True).read()


def test_example_of_the_guide_is_good(file: Path) -> None:
    (example,) = re.findall(r"```yaml\n(version: 1\n.*?)```", (ROOT / "docs/running.md").read_text(), re.DOTALL)
    terms = read(file, example)
    assert terms.countries["staff"].status == 451
    assert route(terms, "/api/v1/admin/auth").countries is terms.countries["staff"]


# What is laid over what.


@pytest.mark.promise("G36")
def test_own_file_changes_what_it_names_and_nothing_else(file: Path) -> None:
    default = PolicyFile(None).read()
    own = read(
        file,
        """
        version: 1
        limits: {login: 3/min, slow: 1/s}
        countries:  # nothing yet
        routes:
          /api/v1/attachments: {body: 5MiB}
          /u: null
          /shop: {owner: notify, limits: [slow], countries: none}
        """,
    )
    assert {name for name in own.limits if own.limits[name] != default.limits.get(name)} == {"login", "slow"}
    assert own.countries == default.countries
    changed = {each.name: each for each in own.routes if each not in default.routes}
    assert set(changed) == {"/api/v1/attachments", "/shop"}
    files = changed["/api/v1/attachments"]
    assert (files.body, files.posts, files.owner) == (5 << 20, ("upload",), route(default, "/api/v1/attachments").owner)
    assert "/u" not in {each.name for each in own.routes}
    assert len(own.routes) == len(default.routes)


@pytest.mark.promise("G6")
def test_rules_for_countries_inherit_nothing_from_each_other(file: Path) -> None:
    own = read(file, "version: 1\ncountries: {default: {deny: [KE], status: 451}, staff: {allow: [DE]}}")
    staff = own.countries["staff"]
    assert (staff.deny, staff.allow, staff.status) == (frozenset(), {"DE"}, 403)


@pytest.mark.promise("G36")
async def test_routes_of_the_file_are_those_of_the_gateway(open_door: Start) -> None:
    policy = {"routes": {"/u": None, "/shop": {"owner": "notify", "body": "1KiB"}, "/shop/only/": {"owner": "chat"}}}
    door = await open_door(policy=policy)
    paths = ["/u/secret", "/shop", "/shop/things/1", "/shop/only/", "/internal/users", ANSWER]
    assert [(await door.ask(path)).status for path in paths] == [404, 200, 200, 200, 404, 200]
    assert (await door.ask("/shop", "POST", body=b"x" * 1025)).status == 413


@pytest.mark.promise("G38")
async def test_calls_of_a_route_without_limits_are_logged(open_door: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    door = await open_door(policy={"routes": {"/shop": {"owner": "chat", "limits": []}}})
    lines: list[bytes] = []
    monkeypatch.setattr(door.core.access, "_write", lines.append)
    for path in ("/health/live", "/shop"):
        assert (await door.ask(path)).status == 200
    async with asyncio.timeout(30):
        while not lines:
            await asyncio.sleep(0.05)
    assert [b'"path":"/shop"' in line for line in b"".join(lines).splitlines()] == [True]


# At start.


def start(command: str, key_ring: Path, file: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PARLEY_KEY_RING": str(key_ring), "GATEWAY_POLICY_FILE": str(file)}
    argv = [sys.executable, "-m", "gateway", command]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.promise("G36")
@pytest.mark.parametrize("command", ["serve", "check"])
def test_bad_file_does_not_start(command: str, file: Path, key_ring_path: Path) -> None:
    file.write_text("version: 1\nroutes: {/ws: {owner: nobody}}\n")
    done = start(command, key_ring_path, file)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"The policy file is refused. {file}: line 2, routes > /ws > owner: must be ")


@pytest.mark.promise("G36")
def test_good_file_passes_the_check(file: Path, key_ring_path: Path) -> None:
    file.write_text("version: 1\nlimits: {login: 3/min}\n")
    done = start("check", key_ring_path, file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
