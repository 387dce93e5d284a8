"""`docs/asyncapi.yaml` says what the socket says: every operation, every push, and what real ones look like."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from jsonschema import Draft202012Validator

from chat_service.domain import ops
from chat_service.schemas.messages import Message
from parley_client import ChatClient, Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
# How kinds of pushes stand in the source.
_KINDS = re.compile(
    r"""(?:frames\.push\([^,()]+|publish_to_user\([^,()]+|frames\.notice\(|yield\ UUID\([^\n]*\)\)"""
    r"""|record(?:_message)?\([^,]+,[^,]+(?:,[^,]+)?|note\([^,]+,[^,]+)(?:,\s*)?"([a-z.]+)\"""",
    re.VERBOSE,
)


def fits(name: str, frame: dict[str, Any]) -> None:
    schema = {**MESSAGES[name]["payload"], "components": DOCUMENT["components"]}
    problems = [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(schema).iter_errors(frame)]
    assert problems == [], f"{name}: {problems} in {frame}"


def test_every_operation_is_described_and_no_other() -> None:
    assert {name.removesuffix(".ask") for name in MESSAGES if name.endswith(".ask")} == {*ops.OPS, "hello"}


def test_every_push_is_described() -> None:
    sources = [path.read_text() for path in (ROOT / "chat_service" / "domain").glob("*.py")]
    kinds = {kind for source in sources for kind in _KINDS.findall(source)}
    assert {"message.hidden", "presence", "pong", "member.added"} <= kinds
    assert {f"{kind}.push" for kind in kinds} - MESSAGES.keys() == set()


def test_messages_look_as_over_http() -> None:
    described = set(DOCUMENT["components"]["schemas"]["Message"]["properties"])
    assert described == set(Message.model_fields)


def test_every_reference_leads_somewhere() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found: Any = DOCUMENT
                for part in node["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(DOCUMENT)


class Recorder(ChatClient):
    """Checks every frame, in both directions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: dict[int, str] = {}
        self.kinds: set[str] = set()

    async def raw(self, text: str | bytes) -> None:
        frame = json.loads(text)
        self.asked[frame.get("i", 0)] = frame["op"]
        fits(f"{frame['op']}.ask", frame)
        await super().raw(text)

    async def _take(self, frame: dict[str, Any]) -> None:
        name = f"{self.asked[frame['i']]}.answer" if "i" in frame else f"{frame['t']}.push"
        self.kinds.add(name)
        fits(name, frame)
        await super()._take(frame)


async def test_what_a_real_socket_says_fits(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob)
    stream, client, other = f"c:{conversation}", Recorder(one.socket_url), Recorder(one.socket_url)
    for socket, person in ((client, ann), (other, bob)):
        await socket.open()
        await socket.hello(person.token)
        await socket.sub(stream)
    said = await client.send(conversation, "hello", client_msg_id=ann.id)
    about = {"message_id": said["id"]}
    reply = {"reply_to": said["id"], "thread_root_id": said["id"], "mentions": {"user_ids": [str(bob.id)]}}
    await client.send(conversation, "again", **reply)
    asked: list[tuple[str, str | None, dict[str, Any]]] = [
        ("ping", None, {}),
        ("focus", None, {"streams": [stream]}),
        ("edit", None, {**about, "content": "edited"}),
        ("forward", None, {**about, "conversation_ids": [conversation]}),
        ("react", None, {**about, "emoji": "👍"}),
        ("unreact", None, {**about, "emoji": "👍"}),
        ("pin", stream, about),
        ("unpin", stream, about),
        ("read", stream, {"seq": 1}),
        ("unread", stream, {"seq": 1}),
        ("delivered", stream, {"seq": 1}),
        ("typing", stream, {"on": True}),
        ("thread_read", None, {"root_id": said["id"], "seq": 1}),
        ("follow", None, {"root_id": said["id"]}),
        ("unfollow", None, {"root_id": said["id"]}),
        ("presence", None, {"state": "online"}),
        ("watch", None, {"user_ids": [str(bob.id)]}),
        ("sync", None, {}),
        ("auth", None, {"token": ann.token}),
        ("delete", None, about),
        ("read", f"c:{uuid4()}", {"seq": 1}),
    ]
    for op, where, data in asked:
        try:
            await client.request(op, where, data)
        except Refused:
            assert where not in (None, stream), op
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(carol.id)]})
    await one.call(ann, "PATCH", f"/conversations/{conversation}", json={"name": "new"})
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    await other.push("gone")
    await client.request("unsub", data={"streams": [stream]})
    for socket in (client, other):
        await socket.close()
        if socket._reader is not None:
            await asyncio.wait([socket._reader])
            assert socket._reader.exception() is None
    expected = {
        "message.new",
        "message.edited",
        "message.deleted",
        "reaction.changed",
        "message.pinned",
        "member.added",
    }
    assert {f"{kind}.push" for kind in expected} <= other.kinds


@pytest.mark.parametrize(
    "frame",
    [
        {"op": "send", "s": "c:x", "d": {"content": "a"}},
        {"op": "send", "s": f"c:{'0' * 36}", "d": {}},
        {"op": "edit", "d": {"message_id": 7}},
    ],
)
def test_what_is_wrong_does_not_fit(frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        fits(f"{frame['op']}.ask", frame)
