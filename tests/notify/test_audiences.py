"""Recipients by list or by file, and the report of what was wrong with them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.contracts.accounts import UserDeleted
from libs.db import Database
from libs.paging import encode_cursor
from libs.testing.clients import client
from libs.testing.clock import FakeClock
from notify_service.app import create_app
from notify_service.domain import erasure
from tests.notify.asking import Person
from tests.notify.world import World, eventually

OWNER, OTHER = uuid4(), uuid4()
COUNTS = ("total", "valid", "invalid", "duplicate")


@pytest.fixture(scope="module")
def app(world: World) -> FastAPI:
    return create_app(world.settings(senders=[OWNER, OTHER]))


@pytest.fixture(scope="module")
async def senders(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(app) as http:
        yield http


@pytest.fixture
def me(senders: httpx2.AsyncClient, issue_token: Any) -> Person:
    """Somebody who may send, and is no administrator."""
    return Person(senders, issue_token(OWNER))


async def make(person: Person, channel: str = "email") -> str:
    answer = await person.call("POST", "/audiences", json={"name": "Readers", "channel": channel})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def put(person: Person, audience: str, file: str | bytes, **headers: str) -> httpx2.Response:
    content = file.encode() if isinstance(file, str) else file
    headers = {"Content-Type": "text/csv", **headers}
    return await person.call("PUT", f"/audiences/{audience}/file", content=content, headers=headers)


async def taken(person: Person, audience: str, file: str | bytes) -> Any:
    answer = await put(person, audience, file)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def members(person: Person, audience: str, **wanted: Any) -> list[tuple[str, dict[str, str]]]:
    shown = await person.get(f"/audiences/{audience}/members", limit=100, **wanted)
    return [(each["address"], each["variables"]) for each in shown["results"]]


def counts(audience: Any) -> list[int]:
    return [audience[name] for name in COUNTS]


@pytest.mark.promise("N71")
@pytest.mark.parametrize(
    "file",
    [
        b'address,first_name,note\nada@example.test,Ada,"one, ""two""\nthree"\nal@example.test,,x',
        b'\xef\xbb\xbfFirst Name;E-Mail;note\r\nAda;ada@example.test;"one, ""two""\nthree"\r\n'
        b"\r\n;al@example.test;x\r\n",
        b'note\temail\tfirst-name\r"one, ""two""\nthree"\tada@example.test\tAda\rx\tal@example.test\t \r',
    ],
    ids=["commas", "semicolons of a spreadsheet", "tabs of an old one"],
)
async def test_file_is_understood_however_it_was_saved(me: Person, file: bytes) -> None:
    audience = await make(me)
    report = await taken(me, audience, file)
    assert (counts(report["audience"]), report["problems"]) == ([2, 2, 0, 0], [])
    assert (report["audience"]["state"], sorted(report["audience"]["columns"])) == ("ready", ["first_name", "note"])
    # What was left empty is missing, and not a name of no letters.
    assert await members(me, audience) == [
        ("ada@example.test", {"first_name": "Ada", "note": 'one, "two"\nthree'}),
        ("al@example.test", {"note": "x"}),
    ]


@pytest.mark.promise("N71")
async def test_wrong_rows_are_reported_by_line_and_left_out(me: Person) -> None:
    audience = await make(me)
    wrong = [
        (3, "address", "nobody", "invalid_address"),
        (4, "line", "", "columns"),
        (6, "address", "", "missing"),
        (9, "name", "\ufffd", "characters"),
        (10, "name", "a\ufffdb", "characters"),
        (11, "line", "", "quotes"),
        (12, "name", "x" * 200, "too_long"),
        (13, "line", "", "too_long"),
    ]
    file = (
        b"email,name\nAda@Example.test,Ada\nnobody,N\nx@y.test\n\n,Z\n"
        b'"al@example.test","two\nlines"\nb@y.test,\xff\nc@y.test,a\x00b\n"d@y.test"x,D\n'
        b"e@y.test," + b"x" * 10_001 + b"\n" + b"y" * 200_000 + b"\n Ada@example.TEST ,again\nf@y.test,F\n"
    )
    report = await taken(me, audience, file)
    assert counts(report["audience"]) == [12, 3, 8, 1]
    found = [(each["line"], each["field"], each["value"], each["code"]) for each in report["problems"]]
    assert found == wrong
    shown = await me.get(f"/audiences/{audience}/problems", limit=5)
    rest = await me.call("GET", shown["next"].removeprefix("/api/v1"))
    assert [*shown["results"], *rest.json()["results"]] == report["problems"]
    first = await me.get(f"/audiences/{audience}/members", limit=2)
    rest = await me.call("GET", first["next"].removeprefix("/api/v1"))
    addresses = [(each["position"], each["address"]) for each in [*first["results"], *rest.json()["results"]]]
    assert addresses == [(2, "Ada@example.test"), (7, "al@example.test"), (15, "f@y.test")]


@pytest.mark.promise("N71")
@pytest.mark.parametrize(
    ("file", "line"),
    [
        (b"", 1),
        (b"\n", 1),
        (b"name,city\nAda,London\n", 1),
        (b"email,phone\na@b.test,+4930123456\n", 1),
        (b"email,2nd\n", 1),
        (b"email,a,A\n", 1),
        (b"email," + b",".join(b"c%d" % each for each in range(51)), 1),
        ("email,name\na@b.test,Ada\n".encode("utf-16"), 1),
        ("email,name\n".encode("utf-16-le"), 1),
        (b'email,name\na@b.test,Ada\n"c@d.test,C\ne@f.test,E\n', 3),
        (b'email,name\n"c@d.test,C\n' + b"e@f.test,E\n" * 20_000, 2),
    ],
    ids=[
        *("empty", "no line", "no addresses", "two of them", "name", "same name", "columns", "utf-16"),
        *("utf-16 without its mark", "quote that is not closed", "quote that swallows everything"),
    ],
)
async def test_file_that_cannot_be_used_changes_nothing(me: Person, file: bytes, line: int) -> None:
    audience = await make(me)
    before = (await taken(me, audience, "email\nada@example.test\nnobody\n"))["audience"]
    answer = await put(me, audience, file)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (422, "unusable_file")
    assert [each["field"] for each in said["errors"]] == [f"lines.{line}"]
    assert await me.get(f"/audiences/{audience}") == before
    assert await members(me, audience) == [("ada@example.test", {})]


PIECES = st.sampled_from(
    [
        *(b"email", b"name", b"a@b.test", b"a@B.test", b"\x00", b"\xff"),
        *(b",", b";", b"\t", b"\n", b"\r\n", b"\r", b'"', b'""'),
    ]
)


@pytest.mark.promise("N71")
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(head=st.sampled_from([b"", b"email\n", b"email,name\n"]), body=st.lists(PIECES | st.binary(max_size=6)))
async def test_whatever_comes_is_answered_and_adds_up(me: Person, head: bytes, body: list[bytes]) -> None:
    audience = await make(me)
    answer = await put(me, audience, head + b"".join(body))
    assert answer.status_code in {200, 422}, answer.text
    found = await me.get(f"/audiences/{audience}")
    if answer.status_code == 422:
        assert (answer.json()["code"], counts(found)) == ("unusable_file", [0, 0, 0, 0])
        return
    assert answer.json()["audience"] == found
    assert found["total"] == found["valid"] + found["invalid"] + found["duplicate"]
    assert len(await members(me, audience)) == found["valid"]
    assert len(answer.json()["problems"]) == found["invalid"]


@pytest.mark.promise("N71")
async def test_upload_that_breaks_off_changes_nothing(me: Person, app: FastAPI, issue_token: Any) -> None:
    audience = await make(me)
    await taken(me, audience, "email\nada@example.test\n")
    messages = iter(
        [
            {"type": "http.request", "body": b"email\n" + b"x@y.test\n" * 9000, "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/api/v1/audiences/{audience}/file"
    token = issue_token(OWNER)
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"text/csv")]
    scope = {"type": "http", "method": "PUT", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": headers, "client": ("127.0.0.1", 1), "scheme": "http"}, receive, send)
    assert sent[0]["status"] == 400
    assert await members(me, audience) == [("ada@example.test", {})]


@pytest.mark.promise("N71")
async def test_sizes_are_bounded(me: Person) -> None:
    audience = await make(me)
    declared = {"Content-Type": "text/csv", "Content-Length": str((64 << 20) + 1)}
    answer = await me.call("PUT", f"/audiences/{audience}/file", content=b"email\n", headers=declared)
    assert answer.status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(4 << 20)

    answer = await me.call(
        "PUT", f"/audiences/{audience}/file", content=endless(), headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 413
    for media in ("application/json", "text/csv; charset=utf-16"):
        assert (await put(me, audience, "email\n", **{"Content-Type": media})).status_code == 415
    large = {"to": [{"address": "a@b.test", "variables": {"name": "x" * 9_000}}] * 120}
    assert (await me.call("POST", f"/audiences/{audience}/recipients", json=large)).status_code == 413


@pytest.mark.promise("N71")
async def test_audience_has_its_most_and_keeps_a_thousand_problems(me: Person) -> None:
    audience = await make(me)
    report = await taken(me, audience, "email\n" + ",\n" * 200_000)
    assert (counts(report["audience"]), report["audience"]["state"]) == ([200_000, 0, 200_000, 0], "failed")
    assert len(report["problems"]) == 100
    last = await me.get(f"/audiences/{audience}/problems", limit=100, cursor=encode_cursor((901, "line")))
    assert (len(last["results"]), last["results"][-1]["line"], last["next"]) == (100, 1001, None)
    more = await me.call("POST", f"/audiences/{audience}/recipients", json={"to": [{"address": "a@b.test"}]})
    assert (more.status_code, more.json()["code"]) == (409, "audience_full")
    answer = await put(me, audience, "email\n" + ",\n" * 200_001)
    assert (answer.status_code, answer.json()["code"]) == (422, "unusable_file")
    assert await me.get(f"/audiences/{audience}") == report["audience"]


@pytest.mark.promise("N71")
async def test_recipients_are_added_and_each_address_is_there_once(me: Person, world: World) -> None:
    audience, ada = await make(me), await world.register()
    secretive = await world.register(verified=False)
    await taken(me, audience, "email,name\none@example.test,One\nnobody,N\n")
    body = {
        "to": [
            {"address": "one@EXAMPLE.test", "variables": {"name": "Other"}},
            {"user": str(ada.user_id), "variables": {"city": "London"}},
            {"address": ada.email},
            {"user": str(secretive.user_id)},
            {"user": str(uuid4())},
            {"address": "no address"},
        ]
    }
    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = await me.call("POST", f"/audiences/{audience}/recipients", json=body, headers=key)
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert counts(report["audience"]) == [8, 2, 4, 2]
        assert report["audience"]["columns"] == ["name", "city"]
    # After the three lines of the file.
    found = [(each["line"], each["field"], each["code"]) for each in report["problems"]]
    assert found == [(7, "user", "no_address"), (8, "user", "no_address"), (9, "address", "invalid_address")]
    assert await members(me, audience) == [("one@example.test", {"name": "One"}), (ada.email, {"city": "London"})]
    assert await members(me, audience, address=f" {ada.email} ") == [(ada.email, {"city": "London"})]
    assert await members(me, audience, cursor=encode_cursor(((1 << 63) - 1,))) == []
    many = {"to": [{"address": "a@b.test", "variables": {f"v{n}": "" for n in range(49)}}]}
    assert (await me.call("POST", f"/audiences/{audience}/recipients", json=many)).status_code == 422


@pytest.mark.promise("N71")
async def test_audience_is_its_owners_and_administrators_see_it(
    me: Person, senders: httpx2.AsyncClient, issue_token: Any, as_user: Any, admin: Person
) -> None:
    audience = await make(me, "sms")
    await taken(me, audience, "phone\n+49 30 123456\n")
    stranger = Person(senders, issue_token(OTHER))
    to = {"to": [{"address": "+4930123457"}]}
    calls = [("GET", ""), ("GET", "/members"), ("GET", "/problems"), ("POST", "/recipients"), ("DELETE", "")]
    for method, path in calls:
        body = {"json": to} if method == "POST" else {}
        refused = await as_user().call(method, f"/audiences/{audience}{path}", **body)
        assert (refused.status_code, refused.json()["code"]) == (403, "may_not_send")
        assert (await stranger.call(method, f"/audiences/{audience}{path}", **body)).status_code == 404
    assert (await put(stranger, audience, "phone\n")).status_code == 404
    assert (await put(as_user(), audience, "phone\n")).status_code == 403
    assert audience not in [each["id"] for each in (await stranger.get("/audiences"))["results"]]
    assert audience in [each["id"] for each in (await me.get("/audiences"))["results"]]
    assert await members(admin, audience) == [("+4930123456", {})]
    assert (await me.call("DELETE", f"/audiences/{audience}")).status_code == 204
    assert (await me.call("GET", f"/audiences/{audience}")).status_code == 404
    unknown = await me.call("POST", "/audiences", json={"name": "x", "channel": "pigeons"})
    assert unknown.json()["errors"] == [{"field": "channel", "message": "There is no such channel."}]


@pytest.mark.promise("A54")
async def test_whose_account_is_gone_is_in_no_audience(me: Person, world: World) -> None:
    audience, ada = await make(me), await world.register()
    body = {"to": [{"user": str(ada.user_id)}, {"address": "grace@example.test"}]}
    assert (await me.call("POST", f"/audiences/{audience}/recipients", json=body)).status_code == 200
    del world.auth.profiles[ada.user_id]
    await world.auth.emit(UserDeleted(user_id=ada.user_id))
    await world.heard()
    database = Database(world.database_url, service="notify")

    async def gone() -> bool:
        await erasure.work(database, FakeClock())
        return counts(await me.get(f"/audiences/{audience}")) == [1, 1, 0, 0]

    await eventually(gone)
    await database.close()
    assert await members(me, audience) == [("grace@example.test", {})]
    assert await world.sql("SELECT 1 FROM audience_member WHERE user_id = $1", UUID(str(ada.user_id))) == []
