"""One content for many: looked at beforehand, sent, stopped, followed and sent again."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from deploy.sandbox.faults import Fault
from tests.notify.asking import Decide, MakeBot, Person
from tests.notify.chats import new_chat
from tests.notify.crowds import audience, campaign, counted, domain_of, over, people, recipients, settled, step
from tests.notify.desks import WhatsAppDesk
from tests.notify.world import World, eventually

# Step by step: where it may be taken, and where it leads.
STEPS = {
    "schedule": ({"draft"}, "scheduled"),
    "unschedule": ({"scheduled"}, "draft"),
    "start": ({"draft", "scheduled"}, "running"),
    "pause": ({"running"}, "paused"),
    "resume": ({"paused"}, "running"),
    "cancel": ({"scheduled", "running", "paused"}, "cancelled"),
    "resend": ({"running", "finished"}, "running"),
}
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()
BODIES: dict[str, Any] = {"schedule": {"send_at": LATER}, "resend": {"states": ["failed"]}}
# The way of a campaign to each state, on an account that sends nothing.
WAYS = {
    "draft": [],
    "scheduled": ["schedule"],
    "running": ["start"],
    "paused": ["start", "pause"],
    "cancelled": ["schedule", "cancel"],
}


@pytest.fixture
async def idle_bot(make_bot: MakeBot) -> str:
    """It may not send anything."""
    return await make_bot(daily_limit=0)


def chats(*numbers: int, **variables: str) -> list[dict[str, Any]]:
    return [{"address": str(number), "variables": variables} for number in numbers]


async def refusal(me: Person, method: str, path: str, body: Any = None) -> tuple[int, str, str | None, str | None]:
    answer = await me.call(method, path, json=body)
    said = answer.json()
    return answer.status_code, said["code"], said.get("from"), said.get("to")


@pytest.mark.promise("N60")
async def test_steps_that_a_state_does_not_allow_are_refused_by_their_names(admin: Person, idle_bot: str) -> None:
    to = await audience(admin, *chats(1), channel="telegram")
    given = {"channel": "telegram", "account": idle_bot, "content": {"text": "Hello"}, "audience": to}
    made = {state: await campaign(admin, **given) for state in WAYS}
    for state, way in WAYS.items():
        for name in way:
            await step(admin, made[state], name, **BODIES.get(name, {}))
    made["finished"] = await campaign(admin, *people(1))
    await step(admin, made["finished"], "start")
    await over(admin, made["finished"])
    cases = [(state, name, aim) for state in made for name, (froms, aim) in STEPS.items() if state not in froms]
    for state, name, aim in cases:
        said = await refusal(admin, "POST", f"/campaigns/{made[state]}/{name}", BODIES.get(name))
        assert said == (409, "illegal_transition", state, aim), name
    for state in made.keys() - {"draft"}:
        path = f"/campaigns/{made[state]}"
        assert await refusal(admin, "PATCH", path, {"name": "x"}) == (409, "not_a_draft", None, None)
        assert await refusal(admin, "DELETE", path) == (409, "not_a_draft", None, None)
        assert (await admin.get(path))["state"] == state
    assert (await refusal(admin, "DELETE", f"/audiences/{to}"))[:2] == (409, "audience_in_use")
    for state in ("scheduled", "running", "paused"):
        assert (await step(admin, made[state], "cancel"))["state"] == "cancelled"


@pytest.mark.promise("N60")
async def test_of_many_who_start_it_one_does(admin: Person, idle_bot: str, world: World) -> None:
    given = {"channel": "telegram", "account": idle_bot, "content": {"text": "Hello"}}
    made = await campaign(admin, *chats(1, 2, 3), **given)
    answers = await asyncio.gather(*(admin.call("POST", f"/campaigns/{made}/start") for _ in range(6)))
    assert sorted(each.status_code for each in answers) == [200] + [409] * 5
    assert await counted(world, made) == {"queued": 3}
    both = await asyncio.gather(*(admin.call("POST", f"/campaigns/{made}/{name}") for name in ("pause", "cancel")))
    assert [each.status_code for each in both] in ([200, 200], [409, 200])
    assert await counted(world, made) == {"cancelled": 3}
    assert (await over(admin, made))["counts"] == {"cancelled": 3}


@pytest.mark.promise("N60")
async def test_draft_is_made_once_changed_and_its_owners_alone(admin: Person, as_user: Any) -> None:
    to = await audience(admin, *people(1))
    body = {"name": "Spring", "channel": "email", "audience": to, "content": {"subject": "a", "text": "b"}}
    key = {"Idempotency-Key": uuid4().hex}
    first, again = [await admin.call("POST", "/campaigns", json=body, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    path = f"/campaigns/{first.json()['id']}"
    changed = await admin.call("PATCH", path, json={"name": "Summer", "version": 1})
    assert (changed.json()["name"], changed.json()["version"]) == ("Summer", 2)
    assert (await admin.call("PATCH", path, json={"name": "Autumn", "version": 1})).status_code == 412
    assert (await admin.get("/campaigns", state="draft"))["results"][0]["name"] == "Summer"
    stranger = as_user(roles=["admin"])
    for method, below in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/recipients.csv")):
        answer = await stranger.call(method, path + below, json={} if method == "PATCH" else None)
        assert answer.status_code == 404
    theirs = await stranger.call("POST", "/campaigns", json=body)
    assert [each["field"] for each in theirs.json()["errors"]] == ["audience"]
    assert (await as_user().call("GET", "/campaigns")).status_code == 403
    assert (await admin.call("DELETE", path)).status_code == 204
    assert (await admin.call("GET", path)).status_code == 404


@pytest.mark.promise("N62", "N63", "N64")
async def test_what_is_previewed_is_sent_counted_and_exported(admin: Person, world: World) -> None:
    [ada, bob, eve, mallory] = crowd = people(4)
    ada["variables"] = {"name": "Ada <b>& Söhne</b>", "unused": "x"}
    bob["variables"] = {"name": ""}
    mallory["address"] = f"=cmd|x@{domain_of(crowd)}"
    content = {
        "subject": "Hello {{name}}",
        "text": "It is {{season}}, {{name}}.",
        "html": "<p>It is {{season}}, {{name}}.</p>",
    }
    entry = {"channel": "email", "address": eve["address"], "category": "news"}
    assert (await admin.call("POST", "/suppressions", json=entry)).status_code == 204
    made = await campaign(
        admin, *crowd, content=content, category="news", missing="skip", defaults={"season": "spring"}
    )
    shown = {each["address"]: each for each in (await step(admin, made, "preview", sample=10))["results"]}
    assert (shown[bob["address"]]["content"], shown[bob["address"]]["reason"]) == (None, "missing_variables")
    assert shown[eve["address"]]["reason"] == "suppressed"
    assert shown[ada["address"]]["variables"] == {"name": ada["variables"]["name"], "season": "spring"}
    [one] = (await step(admin, made, "preview", positions=[shown[ada["address"]]["position"]]))["results"]
    assert one == shown[ada["address"]]

    await step(admin, made, "start")
    events = await admin.call("GET", f"/campaigns/{made}/events")
    found = await over(admin, made)
    assert (found["state"], found["total"], found["eta_seconds"]) == ("finished", 4, None)
    assert found["counts"] == {"sent": 2, "failed": 1, "suppressed": 1} == await counted(world, made)
    [*_, last] = [json.loads(line[6:]) for line in events.text.splitlines() if line.startswith("data: ")]
    assert (last["state"], last["counts"], events.headers["content-type"]) == (
        "finished",
        found["counts"],
        "text/event-stream; charset=utf-8",
    )

    [mail] = world.sandbox.postbox.mailbox.newest_first(ada["address"])
    seen = shown[ada["address"]]["content"]
    assert (mail.subject, mail.text.strip(), mail.html.strip()) == (seen["subject"], seen["text"], seen["html"])
    assert seen["html"] == "<p>It is spring, Ada &lt;b&gt;&amp; Söhne&lt;/b&gt;.</p>"
    rows = await recipients(admin, made)
    assert rows[bob["address"]]["reason"] == "missing_variables"
    assert rows[ada["address"]]["sent_at"] is not None
    assert list(await recipients(admin, made, state="suppressed")) == [eve["address"]]
    assert list(await recipients(admin, made, reason="missing_variables")) == [bob["address"]]
    sheet = await admin.call("GET", f"/campaigns/{made}/recipients.csv")
    lines = list(csv.DictReader(io.StringIO(sheet.text)))
    # In the order of the audience.
    assert [line["address"] for line in lines] == [*(each["address"] for each in crowd[:3]), f"'{mallory['address']}"]
    assert [line["state"] for line in lines] == ["sent", "failed", "suppressed", "sent"]
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.promise("N61")
async def test_pause_stops_it_within_the_batch_and_nobody_gets_it_twice(admin: Person, world: World) -> None:
    crowd = people(80)
    domain = domain_of(crowd)
    world.sandbox.postbox.faults.add(Fault(match=domain, delay_ms=40, times=1000, after_data=True))
    made = await campaign(admin, *crowd)
    await step(admin, made, "start")
    await eventually(lambda: len(world.delivered(domain)) >= 8)
    await step(admin, made, "pause")
    seen = len(world.delivered(domain))
    await settled(admin, made)
    stopped = len(world.delivered(domain))
    # What was on its way on four lines, and nothing behind it.
    assert seen <= stopped <= seen + 4
    await asyncio.sleep(0.5)
    assert len(world.delivered(domain)) == stopped < 80
    await eventually(lambda: _counts_are(admin, made, sent=stopped))
    world.sandbox.postbox.faults.clear()
    await step(admin, made, "resume")
    assert (await over(admin, made))["counts"] == {"sent": 80}
    assert sorted(world.delivered(domain)) == [each["address"] for each in crowd]


async def _counts_are(me: Person, campaign_id: str, **expected: int) -> bool:
    counts = (await me.get(f"/campaigns/{campaign_id}"))["counts"]
    return all(counts.get(state) == count for state, count in expected.items())


@pytest.mark.promise("N60", "N61")
async def test_what_has_not_left_is_cancelled_for_good(admin: Person, world: World) -> None:
    crowd = people(60)
    domain = domain_of(crowd)
    world.sandbox.postbox.faults.add(Fault(match=domain, delay_ms=40, times=1000, after_data=True))
    made = await campaign(admin, *crowd)
    await step(admin, made, "start")
    await eventually(lambda: len(world.delivered(domain)) >= 4)
    assert (await step(admin, made, "cancel"))["state"] == "cancelled"
    found = await over(admin, made)
    world.sandbox.postbox.faults.clear()
    assert found["counts"] == await counted(world, made)
    assert sum(found["counts"].values()) == 60
    assert found["counts"]["cancelled"] > 0
    assert found["counts"]["sent"] == len(world.delivered(domain)) < 60


@pytest.mark.promise("N61")
async def test_what_comes_back_after_the_cancellation_does_not_go_again(admin: Person, world: World) -> None:
    [ada] = people(1)
    fault = Fault(match=ada["address"], reply="451 4.3.0 try later", delay_ms=500, after_data=True, times=1000)
    world.sandbox.postbox.faults.add(fault)
    made = await campaign(admin, ada)
    await step(admin, made, "start")
    await eventually(lambda: recipients(admin, made, state="sending"))
    await step(admin, made, "cancel")
    assert (await over(admin, made))["counts"] == {"cancelled": 1}
    log = (await admin.get(f"/deliveries/{(await recipients(admin, made))[ada['address']]['id']}"))["log"]
    assert ({each["decision"] for each in log}, world.delivered(ada["address"])) == ({"retry"}, [])


@pytest.mark.promise("N65")
async def test_audience_is_what_it_was_at_the_start_and_suppressions_what_they_are_now(
    admin: Person, make_bot: MakeBot, telegram: Any, world: World
) -> None:
    idle_bot = await make_bot(daily_limit=0)
    [first, second] = [str((await telegram.order("chats", id=new_chat()))["id"]) for _ in range(2)]
    to = await audience(admin, *chats(int(first), int(second), name="A"), channel="telegram")
    given = {"channel": "telegram", "account": idle_bot, "content": {"text": "Hello {{name}}"}, "category": "news"}
    made = await campaign(admin, audience=to, **given)
    begun = await step(admin, made, "start")
    assert (begun["total"], begun["account"], begun["counts"]) == (2, idle_bot, {"queued": 2})
    more = {"to": chats(new_chat(), name="C")}
    assert (await admin.call("POST", f"/audiences/{to}/recipients", json=more)).status_code == 200
    await world.sql("UPDATE audience_member SET variables = '{}' WHERE audience_id = $1", to)
    entry = {"channel": "telegram", "address": second, "category": "news"}
    assert (await admin.call("POST", "/suppressions", json=entry)).status_code == 204
    await admin.call("PATCH", f"/accounts/{idle_bot}", json={"daily_limit": None})
    assert (await over(admin, made))["counts"] == {"sent": 1, "suppressed": 1}
    assert [each["text"] for each in await telegram.effects(first)] == ["Hello A"]
    assert await telegram.effects(second) == []
    assert (await admin.call("DELETE", f"/audiences/{to}")).status_code == 204
    assert (await admin.get(f"/campaigns/{made}"))["audience"] is None


@pytest.mark.promise("N58")
async def test_who_has_had_enough_of_a_category_is_left_out(admin: Person, idle_bot: str, decide: Decide) -> None:
    category = await decide(throttle={"most": 1, "seconds": 3600})
    given = {"channel": "telegram", "account": idle_bot, "category": category}
    to = chats(new_chat(), new_chat())
    content = {"text": "{{throttled_count}} left out"}
    first, second = [await campaign(admin, *to[:count], content=content, **given) for count in (1, 2)]
    assert (await step(admin, first, "start"))["counts"] == {"queued": 1}
    assert (await step(admin, second, "start"))["counts"] == {"queued": 1, "suppressed": 1}
    assert list(await recipients(admin, second, reason="throttled")) == [to[0]["address"]]
    for each in (first, second):
        await step(admin, each, "cancel")


@pytest.mark.promise("N60", "N64")
async def test_scheduled_campaign_begins_by_itself_or_says_why_not(admin: Person) -> None:
    [ada, bob] = people(2)
    bob["variables"] = {}
    soon = (datetime.now(UTC) + timedelta(milliseconds=300)).isoformat()
    good, bad = await campaign(admin, ada), await campaign(admin, ada, bob)
    for each in (good, bad):
        assert (await step(admin, each, "schedule", send_at=soon))["state"] == "scheduled"
    assert (await over(admin, good))["counts"] == {"sent": 1}

    async def refused() -> Any:
        found = await admin.get(f"/campaigns/{bad}")
        return found if found["state"] == "draft" else None

    found = await eventually(refused)
    assert (found["fault"], found["send_at"], found["batch_id"]) == ("missing_variables", None, None)
    answer = await admin.call("POST", f"/campaigns/{bad}/start")
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_variables")
    assert [each["field"] for each in answer.json()["errors"]] == ["defaults.name"]


@pytest.mark.promise("N62", "N64")
async def test_check_says_who_gets_nothing_and_how_long_it_takes(admin: Person, make_bot: MakeBot) -> None:
    bot = await make_bot(rate=0.5, daily_limit=2)
    whole = chats(*[new_chat() for _ in range(4)], name="A", town="B")
    to = [*whole, *chats(new_chat()), *chats(new_chat(), name="C")]
    entry = {"channel": "telegram", "address": to[0]["address"], "category": "*"}
    assert (await admin.call("POST", "/suppressions", json=entry)).status_code == 204
    content = {"text": "{{name}} in {{town}}"}
    made = await campaign(admin, *to, channel="telegram", account=bot, content=content)
    found = await step(admin, made, "check")
    assert found == {
        "account": bot,
        "total": 6,
        "valid": 3,
        "suppressed": 1,
        "no_address": 0,
        "switched_off": 0,
        "lacking": 2,
        "missing": {"name": 1, "town": 2},
        "wrong": 0,
        "wrong_variables": {},
        "examples": [],
        "throttled": 0,
        "window_closed": 0,
        "over_quota": 1,
        # The third has to wait for the next day.
        "expected_seconds": 86_400,
        "notes": [],
    }
    await admin.call("PATCH", f"/campaigns/{made}", json={"defaults": {"name": "you", "town": "town"}})
    await admin.call("PATCH", f"/accounts/{bot}", json={"daily_limit": None})
    found = await step(admin, made, "check")
    assert (found["valid"], found["missing"], found["over_quota"], found["expected_seconds"]) == (5, {}, 0, 10)


@pytest.mark.promise("N62")
async def test_check_counts_those_whom_no_free_text_may_reach(admin: Person, world: World) -> None:
    desk = WhatsAppDesk(world.sandbox)
    name = f"wa-{uuid4().hex[:8]}"
    config = {"phone_number_id": desk.number.id, "base_url": f"{desk.url}/whatsapp"}
    body = {"name": name, "provider": "whatsapp", "config": config, "secrets": {"token": "parley"}}
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    heard = "INSERT INTO thread (account, peer, last_inbound_at) VALUES ($1, '+12025550111', now())"
    await world.sql(heard, name)
    to = [{"address": f"+120255501{number}"} for number in (11, 12, 13)]
    made = await campaign(admin, *to, channel="whatsapp", account=name, content={"text": "Hello"})
    found = await step(admin, made, "check")
    assert (found["valid"], found["window_closed"]) == (1, 2)
    reasons = {each["address"]: each["reason"] for each in (await step(admin, made, "preview", sample=9))["results"]}
    assert reasons == {"+12025550111": None, "+12025550112": "window_closed", "+12025550113": "window_closed"}
    template = {"text": "Hello", "template": {"name": "hello_world"}}
    await admin.call("PATCH", f"/campaigns/{made}", json={"content": template})
    assert (await step(admin, made, "check"))["valid"] == 3


@pytest.mark.promise("N64")
async def test_test_goes_to_those_who_try_it_out_and_is_not_counted(admin: Person, world: World) -> None:
    [ada, tester] = people(2)
    made = await campaign(admin, ada, defaults={"name": "you"})
    batch = await step(admin, made, "test", to=[tester["address"]], variables={"name": "T"})
    mailbox = world.sandbox.postbox.mailbox
    await eventually(lambda: mailbox.newest_first(tester["address"]))
    assert mailbox.newest_first(tester["address"])[0].subject == "Hello T"
    assert (await admin.get(f"/deliveries/batches/{batch['id']}"))["test_of"] == made
    assert ((await admin.get(f"/campaigns/{made}"))["counts"], await recipients(admin, made)) == ({}, {})
    many = {"to": ["a@example.test"] * 11}
    assert (await admin.call("POST", f"/campaigns/{made}/test", json=many)).status_code == 422


@pytest.mark.promise("N62")
async def test_failed_ones_are_sent_again_with_their_history(admin: Person, world: World) -> None:
    [ada, bob, eve] = crowd = people(3)
    world.sandbox.postbox.faults.add(Fault(match=ada["address"], reply="550 5.7.1 not today"))
    world.sandbox.postbox.faults.add(Fault(match=bob["address"], after_data=True, drop=True, keep=True))
    made = await campaign(admin, *crowd)
    await step(admin, made, "start")
    assert (await over(admin, made))["counts"] == {"sent": 1, "failed": 1, "unknown": 1}
    assert await step(admin, made, "resend", states=["failed", "dead"]) == {"resent": 1}
    found = await over(admin, made)
    assert (found["state"], found["counts"]) == ("finished", {"sent": 2, "unknown": 1})
    again = await admin.get(f"/deliveries/{(await recipients(admin, made))[ada['address']]['id']}")
    assert [each["decision"] for each in again["log"]] == ["failed", "sent"]
    assert await step(admin, made, "resend", states=["failed"]) == {"resent": 0}
    assert (await admin.get(f"/campaigns/{made}"))["state"] == "finished"
    assert sorted(world.delivered(domain_of(crowd))) == [each["address"] for each in crowd]
    await step(admin, made, "resend", states=["unknown"])
    assert (await over(admin, made))["counts"] == {"sent": 3}
    # Whoever names the unknown ones may send something twice.
    assert world.delivered(bob["address"]) == [bob["address"]] * 2
    assert eve["address"] in world.delivered(domain_of(crowd))
