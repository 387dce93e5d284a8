"""The audit log: who did what to whom; sealed, so that a change of it is found; shown to whom it concerns."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from auth_service import worker
from auth_service.domain import audit, chain, months
from auth_service.domain.chain import Link
from libs.contracts.audit import Audited
from libs.contracts.events import Event
from libs.ids import uuid7
from tests.auth.api import Account, Api, unique

# Without a zone, and at the ends of what a calendar knows.
MOMENTS = ["2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1e+99"]
ODD = ["' OR 1=1 --", "%", "\\", "${jndi:x}", "{{7*7}}", "a\x00b", "\r\nX: y", "é" * 90, *MOMENTS]
AUDIT = "/api/v1/admin/auth/audit"


@pytest.fixture
async def log(alone: Api) -> Api:
    """A log of one's own, with a few sealed rows. No month ends while a test looks at it."""
    if alone.clock.now().day > 27:
        alone.clock.advance(5 * 86400)
    for _ in range(2):
        await alone.register()
    assert await chain.seal(alone.db) == 4
    return alone


async def months_of(api: Api) -> list[str]:
    query = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit'::regclass"
    return [row.name for row in await api.sql(query)]


async def tamper(api: Api, statement: str, **values: Any) -> None:
    """As somebody who owns the database."""
    await api.sql("ALTER TABLE audit DISABLE TRIGGER audit_append_only")
    for partition in await api.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit'::regclass"
    ):
        await api.sql(f"ALTER TABLE {partition.name} DISABLE TRIGGER audit_append_only")
    await api.sql(statement, **values)


async def verified(api: Api, query: str = "") -> Any:
    admin = await api.staff("admin")
    answer = await api.get(f"{AUDIT}/verify{query}", admin.access)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.promise("A44")
async def test_a_sign_in_is_recorded_with_where_it_came_from(api: Api) -> None:
    made = await api.register()
    await api.sign_in(email=made.email, ip="203.0.113.77", country="SE", headers={"User-Agent": "Browser 1"})
    row = (await api.audit("session.started", subject_id=made.id))[-1]
    assert (row.result, row.actor_id, row.ip, row.country, row.user_agent) == (
        "ok",
        made.id,
        "203.0.113.77",
        "SE",
        "Browser 1",
    )
    assert row.request_id
    assert row.session_id


@pytest.mark.promise("A44")
@pytest.mark.parametrize("statement", ["UPDATE audit SET action = 'x.y'", "DELETE FROM audit"])
async def test_the_log_is_only_appended_to(api: Api, statement: str) -> None:
    made = await api.register()
    with pytest.raises(DBAPIError, match="append-only"):
        await api.sql(f"{statement} WHERE subject_id = :id", id=made.id)


@pytest.mark.promise("A44")
async def test_an_untouched_log_is_intact(log: Api) -> None:
    found = await verified(log)
    assert (found["intact"], found["checked"], found["first_bad"]) == (True, 4, None)
    assert found["end"]["position"] == 4
    assert found["continue_after"] is None


@pytest.mark.promise("A44", "Z15")
@pytest.mark.parametrize(
    "change", ["action = 'x.y'", "actor_id = NULL", "at = at + interval '1 second'", "data = '{\"x\": 1}'"]
)
async def test_a_changed_row_is_named(log: Api, change: str) -> None:
    await tamper(log, f"UPDATE audit SET {change} WHERE position = 3")
    found = await verified(log)
    [row] = await log.sql("SELECT id FROM audit WHERE position = 3")
    assert found["first_bad"] == {"position": 3, "id": row.id, "problem": "changed"}
    assert not found["intact"]


@pytest.mark.promise("A44", "Z15")
async def test_a_removed_row_is_named(log: Api) -> None:
    await tamper(log, "DELETE FROM audit WHERE position = 2")
    assert (await verified(log))["first_bad"] == {"position": 2, "id": None, "problem": "missing"}


@pytest.mark.promise("A44", "Z15")
async def test_the_first_row_cannot_be_removed_either(log: Api) -> None:
    await tamper(log, "DELETE FROM audit WHERE position = 1")
    assert (await verified(log))["first_bad"] == {"position": 1, "id": None, "problem": "missing"}


@pytest.mark.promise("A44", "Z15")
async def test_a_row_that_was_slipped_in_is_named(log: Api) -> None:
    columns = "at, service, action, result, data, position, prev_hash, hash"
    await log.sql(
        f"INSERT INTO audit (event_id, {columns}) SELECT gen_random_uuid(), {columns} FROM audit WHERE position = 2"
    )
    [row] = await log.sql("SELECT max(id) AS id FROM audit WHERE position = 2")
    assert (await verified(log))["first_bad"] == {"position": 2, "id": row.id, "problem": "inserted"}


@pytest.mark.promise("A44", "Z15")
async def test_a_hash_that_was_made_to_fit_breaks_the_next_row(log: Api) -> None:
    await tamper(log, "UPDATE audit SET action = 'x.y' WHERE position = 2")
    [row] = await log.sql("SELECT * FROM audit WHERE position = 2")
    forged = chain._next(Link(1, row.prev_hash), row)
    await log.sql("UPDATE audit SET hash = :hash WHERE position = 2", hash=forged.hash)
    assert (await verified(log))["first_bad"]["position"] == 3


@pytest.mark.promise("A44")
async def test_an_end_that_was_cut_off_shows_beside_a_head_that_was_written_down(log: Api) -> None:
    with capture_logs() as lines:
        await chain.tell_head(log.db)
    [head] = [line for line in lines if line["event"] == "audit_head"]
    query = f"?anchor_position={head['position']}&anchor_hash={head['hash']}"
    assert (await verified(log, query))["intact"]
    await tamper(log, "DELETE FROM audit WHERE position = 4")
    assert (await verified(log))["intact"]
    assert (await verified(log, query))["first_bad"] == {"position": 4, "id": None, "problem": "missing"}
    await chain.seal(log.db)
    assert (await verified(log, query))["first_bad"]["position"] == 4


async def test_a_long_log_is_verified_in_parts(log: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_BATCH", 2)
    part = await chain.verify(log.db, most=2)
    assert (part.checked, part.after) == (2, 2)
    rest = await chain.verify(log.db, after=2)
    assert (rest.checked, rest.after, rest.broken) == (2, None, None)
    await tamper(log, "UPDATE audit SET action = 'x.y' WHERE position = 4")
    found = (await chain.verify(log.db, after=2)).broken
    assert found is not None
    assert found.position == 4


async def test_verification_begins_where_there_is_a_row(api: Api) -> None:
    admin = await api.staff("admin")
    for query in ("after=999999999", "after=-1", "anchor_position=1", "anchor_hash=xy"):
        assert (await api.get(f"{AUDIT}/verify?{query}", admin.access)).status_code == 422


@pytest.mark.promise("A44")
async def test_many_sealers_make_one_chain(alone: Api) -> None:
    async def write() -> None:
        await entry(alone, alone.clock.now())
        await chain.seal(alone.db)

    await asyncio.gather(*(write() for _ in range(8)))
    await chain.seal(alone.db)
    found = await chain.verify(alone.db)
    assert (found.checked, found.broken) == (8, None)


async def entry(api: Api, at: datetime, action: str = "thing.done") -> None:
    await api.sql(
        "INSERT INTO audit (event_id, at, service, action, result, data)"
        " VALUES (gen_random_uuid(), :at, 'auth', :action, 'ok', '{}')",
        at=at,
        action=action,
    )


async def partitions(api: Api) -> dict[str, int]:
    rows = await api.sql("SELECT tableoid::regclass::text AS name, count(*) AS rows FROM audit GROUP BY 1")
    return {row.name: row.rows for row in rows}


async def test_months_are_made_ahead_and_what_came_before_them_moves_in(log: Api) -> None:
    now = log.clock.now()
    assert await partitions(log) == {"audit_p_rest": 4}
    await months.prepare(log.db, log.clock)
    assert await partitions(log) == {f"audit_p{now:%Y%m}": 4}
    await log.register()
    assert await partitions(log) == {f"audit_p{now:%Y%m}": 6}
    await months.prepare(log.db, log.clock)
    names = await log.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit'::regclass"
    )
    assert len(names) == 4
    await chain.seal(log.db)
    assert (await chain.verify(log.db)).broken is None


async def test_a_month_is_as_guarded_as_the_log(log: Api) -> None:
    await months.prepare(log.db, log.clock)
    for table in ("audit", f"audit_p{log.clock.now():%Y%m}", "audit_p_rest"):
        await entry(log, datetime(2199, 1, 1, tzinfo=UTC))
        with pytest.raises(DBAPIError, match="append-only"):
            await log.sql(f"DELETE FROM {table}")


@pytest.mark.promise("A44")
async def test_old_months_go_as_a_whole_and_the_chain_holds(log: Api) -> None:
    """Also when entries of two months were sealed alternately."""
    now = log.clock.now()
    for days in (500, 20, 500, 460, 20):
        await entry(log, now - timedelta(days=days))
        await chain.seal(log.db)
    await months.prepare(log.db, log.clock)
    await months.forget(log.db, log.clock, keep=timedelta(days=400))
    assert [row.count for row in await log.sql("SELECT count(*) AS count FROM audit WHERE action = 'thing.done'")] == [
        2
    ]
    found = await chain.verify(log.db)
    assert (found.broken, found.checked) == (None, 7)
    await log.register()
    log.clock.advance(400 * 86400)
    await months.forget(log.db, log.clock, keep=timedelta(days=100))
    found = await chain.verify(log.db)
    assert (found.broken, found.checked) == (None, 1)


@pytest.mark.promise("Z15")
async def test_what_is_forgotten_hides_no_other_gap(log: Api) -> None:
    await entry(log, log.clock.now() - timedelta(days=500))
    await log.register()
    await months.prepare(log.db, log.clock)
    await months.forget(log.db, log.clock, keep=timedelta(days=400))
    await tamper(log, "DELETE FROM audit WHERE position = 6")
    found = (await chain.verify(log.db)).broken
    assert found is not None
    assert (found.position, found.problem) == (6, "missing")


async def test_who_changes_the_table_waits_briefly_and_comes_back(log: Api) -> None:
    async with log.db.transaction() as db:
        await audit.record(db, audit.Entry(action="thing.done"), audit.Client(), now=log.clock.now())
        with capture_logs() as lines:
            await months.prepare(log.db, log.clock)
    assert "audit_months_wait" in [line["event"] for line in lines]


def told(**changed: Any) -> Event:
    data = {"action": "member.removed", "subject_id": str(uuid4()), "data": {"role": "owner"}, **changed}
    return Event(id=uuid7(), type="Audited", producer="chat", position=1, occurred_at=datetime.now(UTC), data=data)


async def hear(api: Api, event: Event) -> None:
    async with api.db.transaction() as db:
        await worker._HEARD["Audited"](db, event)


@pytest.mark.promise("A44")
async def test_other_services_write_into_the_log_once(api: Api) -> None:
    subject = uuid4()
    event = told(subject_id=str(subject))
    for _ in range(2):
        await hear(api, event)
    [row] = await api.audit("member.removed", subject_id=subject)
    assert (row.service, row.event_id, row.at, row.data) == ("chat", event.id, event.occurred_at, {"role": "owner"})


async def test_what_other_services_write_is_bounded() -> None:
    for wrong in ({"action": "no verb"}, {"ip": "1" * 501}, {"data": {"deep": {"er": 1}}}):
        with pytest.raises(ValidationError):
            Audited.model_validate(told(**wrong).data)


@pytest.mark.promise("Z10")
async def test_no_escape_sequence_reaches_the_log(api: Api) -> None:
    made = await api.register()
    agent = b"Browser\x1b[31m 1\x9b"
    await api.sign_in(email=made.email, headers={"User-Agent": agent})
    assert (await api.audit("session.started", subject_id=made.id))[-1].user_agent == "Browser[31m 1"
    subject = uuid4()
    await hear(api, told(subject_id=str(subject), user_agent="a\r\nb\x1b[2J", reason="x\ny"))
    [row] = await api.audit("member.removed", subject_id=subject)
    assert (row.user_agent, row.reason) == (r"a\r\nb\x1b[2J", r"x\ny")


@pytest.mark.promise("Z10")
@pytest.mark.parametrize("name", ["a\r\nb", "a\x1b[31mb", 'a","level":"critical'])
async def test_no_name_can_pretend_to_be_a_line_of_the_log(api: Api, name: str) -> None:
    body = {"email": f"{unique()}@example.com", "username": name, "password": "correct horse battery"}
    assert (await api.post("/api/v1/auth/register", body)).status_code == 422


async def search(api: Api, admin: Account, **query: Any) -> list[Any]:
    answer = await api.get(AUDIT, admin.access, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


@pytest.mark.promise("A44")
async def test_administrators_search_by_every_field(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    ip = "198.51.100.23"
    await api.sign_in(email=made.email, ip=ip)
    everything = {row["id"] for row in await search(api, admin, subject=made.id)}
    assert len(everything) == 3
    for query in ({"actor": made.id}, {"result": "ok"}, {"service": "auth"}):
        assert {row["id"] for row in await search(api, admin, subject=made.id, **query)} == everything
    assert len(await search(api, admin, subject=made.id, action="session.started")) == 2
    assert [row["ip"] for row in await search(api, admin, subject=made.id, ip=ip)] == [ip]
    assert await search(api, admin, subject=made.id, result="refused") == []
    [old] = await search(api, admin, subject=made.id, limit=1)
    assert len(await search(api, admin, subject=made.id, to=old["at"])) == 3
    assert await search(api, admin, subject=made.id, **{"from": "2190-01-01T00:00:00Z"}) == []


async def test_pages_follow_one_another(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    for _ in range(3):
        await api.sign_in(email=made.email)
    page = (await api.get(f"{AUDIT}?subject={made.id}&limit=3", admin.access)).json()
    rest = (await api.get(page["next"], admin.access)).json()
    ids = [row["id"] for row in page["results"] + rest["results"]]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest["next"]) == (5, None)


@pytest.mark.promise("Z7")
@pytest.mark.parametrize("value", ODD)
async def test_filters_are_values_and_nothing_else(api: Api, value: str) -> None:
    admin = await api.staff("admin")
    for name in ("action", "service", "ip", "subject", "from", "to", "cursor"):
        answer = await api.get(AUDIT, admin.access, params={name: value})
        assert answer.status_code == 422 or answer.json()["results"] == []


@pytest.mark.promise("A44")
async def test_everybody_reads_what_happened_to_themselves(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await api.sign_in(email=made.email, ip="203.0.113.77", country="SE")
    rows = (await api.get("/api/v1/users/me/audit", made.access)).json()["results"]
    assert (rows[0]["action"], rows[0]["by"], rows[0]["ip"]) == ("session.started", "you", "203.0.113.0")
    assert [row["action"] for row in rows] == ["session.started", "session.started", "account.created"]
    assert all(row["id"] not in {r["id"] for r in rows} for row in await own(api, other))


async def own(api: Api, account: Account) -> list[Any]:
    return list((await api.get("/api/v1/users/me/audit", account.access)).json()["results"])


@pytest.mark.promise("A44")
async def test_registering_and_confirming_an_address_are_recorded(api: Api, strict: Api) -> None:
    for each in (api, strict):
        body = {"email": f"{unique()}@example.com", "password": "correct horse battery"}
        assert (await each.post("/api/v1/auth/register", body)).status_code in (201, 202)
        token = {"token": await each.link_token(body["email"])}
        assert (await each.post("/api/v1/auth/email/verify", token, ip="203.0.113.9")).status_code == 200
        (owner,) = await each.sql("SELECT user_id FROM identifiers WHERE value = :email", email=body["email"])
        assert len(await each.audit("account.created", actor_id=owner.user_id)) == 1
        (verified,) = await each.audit("email.verified", subject_id=owner.user_id)
        assert (verified.actor_id, verified.ip) == (owner.user_id, "203.0.113.9")


async def test_of_staff_only_the_deed_is_shown(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await api.post(f"/api/v1/admin/auth/users/{made.id}/unlock", None, admin.access)
    row = (await own(api, made))[0]
    assert (row["action"], row["by"], row["ip"], row["user_agent"]) == ("user.unlocked", "staff", None, None)


@pytest.mark.promise("A44")
async def test_after_ninety_days_it_is_history(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(91 * 86400)
    fresh = (await aging.sign_in(email=made.email)).json()["access"]
    rows = (await aging.get("/api/v1/users/me/audit", fresh)).json()["results"]
    assert len(rows) == 1


async def test_a_log_is_no_place_for_secrets(api: Api) -> None:
    made = await api.register()
    await api.sign_in(password="not the password", email=made.email)
    rows = await api.sql("SELECT * FROM audit WHERE subject_id = :id OR actor_id = :id", id=made.id)
    for secret in (made.access, made.refresh, "not the password", "correct horse battery"):
        assert all(secret not in str(tuple(row)) for row in rows)
