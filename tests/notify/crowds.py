"""Campaigns and who gets them, as programs make them."""

from typing import Any
from uuid import uuid4

from tests.notify.asking import OPEN, Person
from tests.notify.world import World, eventually

CONTENT = {"subject": "Hello {{name}}", "text": "It is spring, {{name}}."}


def people(count: int) -> list[dict[str, Any]]:
    """Recipients of mail whom nobody else has, named after their number. They share a domain of their own."""
    domain = f"{uuid4().hex}.test"
    return [{"address": f"p{number:03}@{domain}", "variables": {"name": f"N{number}"}} for number in range(count)]


def domain_of(crowd: list[dict[str, Any]]) -> str:
    return str(crowd[0]["address"].partition("@")[2])


async def audience(me: Person, *to: dict[str, Any], channel: str = "email") -> str:
    made = await me.call("POST", "/audiences", json={"name": "Everybody", "channel": channel})
    assert made.status_code == 201, made.text
    path = f"/audiences/{made.json()['id']}/recipients"
    added = await me.call("POST", path, json={"to": list(to)})
    assert added.status_code == 200, added.text
    return str(made.json()["id"])


async def campaign(me: Person, *to: dict[str, Any], **given: Any) -> str:
    """A draft to these; by mail unless it says otherwise."""
    channel = given.get("channel", "email")
    body = {"name": "Spring", "channel": channel, "content": CONTENT, **given}
    if to:
        body["audience"] = await audience(me, *to, channel=channel)
    made = await me.call("POST", "/campaigns", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def step(me: Person, campaign_id: str, name: str, **body: Any) -> Any:
    answer = await me.call("POST", f"/campaigns/{campaign_id}/{name}", json=body or None)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


async def over(me: Person, campaign_id: str) -> Any:
    """The campaign, once nothing of it is open."""

    async def check() -> Any:
        found = await me.get(f"/campaigns/{campaign_id}")
        return found if found["finished_at"] else None

    return await eventually(check)


async def recipients(me: Person, campaign_id: str, **wanted: Any) -> dict[str, Any]:
    """By address."""
    shown = await me.get(f"/campaigns/{campaign_id}/recipients", limit=100, **wanted)
    assert shown["next"] is None
    return {each["address"]: each for each in shown["results"]}


async def settled(me: Person, campaign_id: str) -> None:
    """Returns once nothing of it is in a worker's hands."""

    async def check() -> bool:
        return not {each["state"] for each in (await recipients(me, campaign_id)).values()} & (
            OPEN - {"queued", "retry"}
        )

    await eventually(check)


async def counted(world: World, campaign_id: str) -> dict[str, int]:
    """What the rows say."""
    rows = await world.sql(
        "SELECT d.state, count(*) AS n FROM delivery AS d JOIN campaign AS c USING (batch_id) WHERE c.id = $1 "
        "GROUP BY d.state",
        campaign_id,
    )
    return {row["state"]: row["n"] for row in rows}
