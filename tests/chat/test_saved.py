"""Messages that people save for themselves."""

import pytest

from tests.chat.conftest import People
from tests.chat.nodes import Node


@pytest.mark.promise("C22")
async def test_saved_messages_are_listed_for_who_saved_them_alone(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = [await one.say(ann, conversation, f"{n}") for n in range(3)]
    for message in [*said, said[0]]:
        assert (await one.call(bob, "PUT", f"/messages/{message['id']}/saved")).status_code == 204
    page = (await two.call(bob, "GET", "/messages/saved?limit=2")).json()
    rest = (await two.http.get(page["next"], headers=bob.headers)).json()
    assert [s["message"]["content"] for s in page["results"] + rest["results"]] == ["2", "1", "0"]
    assert (await two.call(ann, "GET", "/messages/saved")).json()["results"] == []
    assert (await one.call(bob, "DELETE", f"/messages/{said[1]['id']}/saved")).status_code == 204
    left = (await two.call(bob, "GET", "/messages/saved")).json()["results"]
    assert [s["message"]["content"] for s in left] == ["2", "0"]


@pytest.mark.promise("C22")
async def test_only_what_one_may_still_see_is_there(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    kept, deleted = [await one.say(ann, conversation, text) for text in ("kept", "deleted")]
    for message in (kept, deleted):
        await one.call(bob, "PUT", f"/messages/{message['id']}/saved")
    assert (await one.call(eve, "PUT", f"/messages/{kept['id']}/saved")).status_code == 404
    await one.call(ann, "DELETE", f"/messages/{deleted['id']}")
    assert [s["message"]["content"] for s in (await one.call(bob, "GET", "/messages/saved")).json()["results"]] == [
        "kept"
    ]
    assert (await one.call(bob, "PUT", f"/messages/{deleted['id']}/saved")).status_code == 409
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert (await one.call(bob, "GET", "/messages/saved")).json()["results"] == []


async def test_bad_cursor_is_refused(one: Node, people: People) -> None:
    [ann] = await people(1)
    for cursor in ("x", "WzEsIngiXQ", "Wzk5OTk5OTk5OTk5OTk5OTk5OSwiYSJd"):
        assert (await one.call(ann, "GET", f"/messages/saved?cursor={cursor}")).status_code == 422
