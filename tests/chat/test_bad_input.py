"""Bad input on every route gets the error of the conventions, never a 500."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_service.domain import ops, requests
from parley_client import Refused
from tests.architecture.apps import apps
from tests.chat.conftest import People
from tests.chat.nodes import Node

_SHORT = {"conversation_id": "c", "user_id": "u", "message_id": "m"}
# Of the existing clients there are tests with their own shapes; an event stream does not end.
_LEFT_OUT = ("/api/chat", "/api/v1/stream", "/api/v1/chat/")


def _routes() -> Iterator[tuple[str, str]]:
    """Of the API, with short names for ids."""
    for path, operations in apps()["chat"].openapi()["paths"].items():
        if path.startswith("/api/v1") and not path.startswith(_LEFT_OUT):
            short = re.sub(r"\{(\w+)\}", lambda m: f"{{{_SHORT.get(m[1], 'x')}}}", path.removeprefix("/api/v1"))
            yield from ((method.upper(), short) for method in operations)


ROUTES = sorted(_routes())
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"{",
    b"{}",
    b"\xff\xfe",
    b'{"\xff": 1}',
    b'{"content": "\\ud800"}',
    b'{"content": "a\\u0000b"}',
    b'{"content": 7, "client_msg_id": "x", "reply_to": []}',
    b'{"content": "x", "unknown": 1}',
    b'{"content": "x", "client_msg_id": "x"}',
    b'{"name": null}',
    b'{"name": "a\\u0000b"}',
    b'{"name": "' + b"x" * 5000 + b'"}',
    b'{"version": 1e400}',
    b'{"version": 99999999999999999999999999}',
    b'{"seq": 99999999999999999999999999}',
    b'{"seq": -1}',
    b'{"user_ids": []}',
    b'{"user_ids": ["x"]}',
    b'{"user_ids": "x"}',
    b'{"conversation_type": "cult", "participants": []}',
    b'{"conversation_type": "group", "participants": [7]}',
    b'{"conversation_type": "group", "participants": {}}',
    b'{"conversation_type": "group", "participants": [], "name": "\\ud800"}',
    b"[" * 20_000,
    b'{"a":' * 20_000,
]
QUERIES = [
    "limit=0",
    "limit=101",
    "limit=x",
    "limit=99999999999999999999999",
    "cursor=x",
    "cursor=%00",
    "cursor=W10",
    "cursor=WzFd",
    "cursor=" + "A" * 600,
    "before=-1",
    "after=x",
    "around=99999999999999999999",
    "before=1&after=1",
    "limit=1&limit=x",
    "before=%ff",
]


def fill(path: str, **ids: str) -> str:
    return path.format(**{name: ids.get(name, str(uuid4())) for name in "cumx"})


def assert_refused(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[0] in ("POST", "PATCH")])
async def test_bad_bodies(one: Node, people: People, method: str, path: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    headers = {**ann.headers, "Content-Type": "application/json"}
    for body in BODIES:
        answer = await one.http.request(method, f"/api/v1{fill(path, c=conversation)}", content=body, headers=headers)
        assert_refused(answer)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_bad_ids_queries_and_tokens(one: Node, people: People, method: str, path: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for bad in ("x", "%00", "%ff", "0", "..", "1" * 500, "00000000-0000-0000-0000-00000000000g"):
        if "{" in path:
            assert_refused(
                await one.call(ann, method, fill(path, c=bad, u=bad, m=bad, x=bad), json={"content": "x", "seq": 1})
            )
    for query in QUERIES if method == "GET" else ():
        assert_refused(await one.call(ann, method, f"{fill(path, c=conversation)}?{query}", json={}))
    for token in ("", "x", "Bearer", "Bearer x", "Bearer a.b.c", "Basic eDp5", f"bearer {ann.token}x", "Bearer \xff"):
        answer = await one.http.request(
            method, f"/api/v1{fill(path)}", headers={"Authorization": token.encode("latin-1")}, json={}
        )
        assert answer.status_code in (401, 422), answer.text
    assert (await one.http.request(method, f"/api/v1{fill(path)}", json={})).status_code == 401


async def test_cursor_of_another_list_is_refused(one: Node, people: People) -> None:
    crowd = await people(3)
    conversations = [await one.group(*crowd) for _ in range(3)]
    page = (await one.call(crowd[0], "GET", "/conversations?limit=1")).json()
    cursor = page["next"].partition("cursor=")[2]
    for path in (f"/conversations/{conversations[0]}/members", f"/conversations/{conversations[0]}/messages"):
        answer = await one.call(crowd[0], "GET", f"{path}?cursor={cursor}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parser_of_frames_gives_a_request_or_says_malformed(value: object) -> None:
    import json

    line = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        request = requests.parse(line)
    except requests.Malformed:
        return
    assert isinstance(request.op, str)
    assert isinstance(request.data, dict)


@pytest.mark.parametrize("op", sorted(ops.OPS))
async def test_bad_data_of_operations_is_refused_and_the_socket_stays(one: Node, people: People, op: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    values: list[Any] = [None, 7, "", "x", [], {}, True, -1, 1 << 70, "\x00", [[]], {"a": []}]
    fields = (
        *("content", "client_msg_id", "reply_to", "streams", "seq", "on", "token", "message_id", "conversation_ids"),
        *("emoji", "version", "user_ids", "state", "since", "thread_root_id", "mentions", "attachments", "expires_at"),
    )
    async with one.client(ann, conversation) as client:
        for stream in (f"c:{conversation}", f"c:{uuid4()}", "c:", "n", "", None):
            for value in values:
                data = dict.fromkeys(fields, value)
                _, answer = await client.ask(op, stream, data)
                await asyncio.wait([answer])
                error = answer.exception()
                if error is not None:
                    assert isinstance(error, Refused)
                    assert error.code not in ("server_error", "unavailable"), error
        await client.request("ping")
        assert client.closed is None
