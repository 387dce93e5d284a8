"""One's own accounts elsewhere: linking them, and letting go of them."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.auth.api import account, session_of
from tests.auth.elsewhere import ALL, IDENTITIES, PAGE, PROVIDERS, Elsewhere


async def identities(elsewhere: Elsewhere, token: str) -> dict[str, str]:
    listed = await elsewhere.api.get(IDENTITIES, token)
    return {each["provider"]: each["id"] for each in listed.json()["results"]}


async def age(elsewhere: Elsewhere, token: str) -> None:
    """As if the session were older than the five minutes in which sensitive changes need no further proof."""
    statement = "UPDATE sessions SET authenticated_at = authenticated_at - interval '6 minutes' WHERE id = :id"
    await elsewhere.api.sql(statement, id=session_of(token))


@pytest.mark.promise("A30")
@pytest.mark.parametrize("provider", ALL)
async def test_an_account_elsewhere_can_be_linked_and_opens_the_account(elsewhere: Elsewhere, provider: str) -> None:
    made, person = await elsewhere.api.register(), await elsewhere.person()
    answer = await elsewhere.browser().link(made.access, provider, person)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["provider"], answer.json()["email"]) == (provider, elsewhere.emails[person])
    assert account(await elsewhere.browser().sign_in(provider, person)).id == made.id
    assert (await elsewhere.api.me(made.access)).json()["email_verified"] is False


@pytest.mark.promise("A30")
async def test_the_owner_is_told_of_both(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    linked = await elsewhere.browser().link(made.access, "github", await elsewhere.person())
    await elsewhere.api.call("DELETE", f"{IDENTITIES}/{linked.json()['id']}", made.access)
    mails = [mail for mail in await elsewhere.api.mails(made.email) if mail.kind.startswith("identity")]
    assert [(mail.kind, mail.variables) for mail in mails] == [
        ("identity_linked", {"provider": "GitHub"}),
        ("identity_unlinked", {"provider": "GitHub"}),
    ]
    audit = "SELECT action, data FROM audit WHERE subject_id = :id AND action LIKE 'identity.%' ORDER BY id"
    rows = await elsewhere.api.sql(audit, id=made.id)
    assert [(row.action, row.data) for row in rows] == [
        ("identity.linked", {"provider": "github"}),
        ("identity.unlinked", {"provider": "github"}),
    ]


@pytest.mark.promise("A30")
async def test_linking_and_unlinking_need_a_recent_proof(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    linked = await elsewhere.browser().link(made.access, "google", await elsewhere.person())
    await age(elsewhere, made.access)
    begun = await elsewhere.api.post(f"{IDENTITIES}/begin", {"provider": "oidc", "return_to": PAGE}, made.access)
    ended = await elsewhere.api.call("DELETE", f"{IDENTITIES}/{linked.json()['id']}", made.access)
    for answer in (begun, ended):
        assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert "google" in await identities(elsewhere, made.access)


@pytest.mark.promise("A30")
async def test_an_unlinked_account_opens_nothing(elsewhere: Elsewhere) -> None:
    made, person = await elsewhere.api.register(), await elsewhere.person(email=None)
    linked = await elsewhere.browser().link(made.access, "facebook", person)
    answer = await elsewhere.api.call("DELETE", f"{IDENTITIES}/{linked.json()['id']}", made.access)
    assert answer.status_code == 204
    assert account(await elsewhere.browser().sign_in("facebook", person)).id != made.id
    assert await identities(elsewhere, made.access) == {}


@pytest.mark.promise("A30")
async def test_the_last_way_to_sign_in_stays(elsewhere: Elsewhere) -> None:
    token = (await elsewhere.browser().sign_in("google", await elsewhere.person())).json()["access"]
    own = await identities(elsewhere, token)
    answer = await elsewhere.api.call("DELETE", f"{IDENTITIES}/{own['google']}", token)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_method")
    assert await identities(elsewhere, token) == own


@pytest.mark.promise("A30")
async def test_of_the_last_two_let_go_at_once_one_stays(elsewhere: Elsewhere) -> None:
    token = (await elsewhere.browser().sign_in("google", await elsewhere.person())).json()["access"]
    await elsewhere.browser().link(token, "github", await elsewhere.person())
    own = await identities(elsewhere, token)
    answers = await asyncio.gather(
        *(elsewhere.api.call("DELETE", f"{IDENTITIES}/{each}", token) for each in own.values())
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert len(await identities(elsewhere, token)) == 1


async def test_an_account_elsewhere_belongs_to_one_person(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person(email=None)
    first, second = await elsewhere.api.register(), await elsewhere.api.register()
    assert (await elsewhere.browser().link(first.access, "oidc", person)).status_code == 201
    answer = await elsewhere.browser().link(second.access, "oidc", person)
    assert (answer.status_code, answer.json()["code"]) == (409, "identity_taken")
    assert await identities(elsewhere, second.access) == {}


async def test_of_two_who_link_the_same_account_at_once_one_gets_it(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person(email=None)
    people = [await elsewhere.api.register() for _ in range(3)]
    answers = await asyncio.gather(*(elsewhere.browser().link(each.access, "google", person) for each in people))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


async def test_linking_waits_for_its_turn_before_it_locks_the_account(elsewhere: Elsewhere) -> None:
    """As signing in does; in different orders each would wait for the other."""
    made, person, browser = await elsewhere.api.register(), await elsewhere.person(), elsewhere.browser()
    code = await browser.visit_to_link(made.access, "google", person)
    turn = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
    async with elsewhere.api.db.transaction() as db, asyncio.timeout(20):
        await db.execute(turn, {"key": f"google:google-{person}"})
        linking = asyncio.create_task(browser.end_linking(made.access, code))
        while not await elsewhere.api.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            await asyncio.sleep(0.01)
        await db.execute(text("SELECT 1 FROM users WHERE id = :id FOR UPDATE NOWAIT"), {"id": made.id})
    assert (await linking).status_code == 201


async def test_linking_the_same_account_again_changes_nothing(elsewhere: Elsewhere) -> None:
    made, person = await elsewhere.api.register(), await elsewhere.person()
    answers = [await elsewhere.browser().link(made.access, "oidc", person) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert [m.kind for m in await elsewhere.api.mails(made.email)].count("identity_linked") == 1


@pytest.mark.promise("Z1")
async def test_other_peoples_identities_are_not_found(elsewhere: Elsewhere) -> None:
    owner, other = await elsewhere.api.register(), await elsewhere.api.register()
    linked = await elsewhere.browser().link(owner.access, "github", await elsewhere.person())
    for identity_id in (linked.json()["id"], uuid4()):
        assert (await elsewhere.api.call("DELETE", f"{IDENTITIES}/{identity_id}", other.access)).status_code == 404
    assert await identities(elsewhere, other.access) == {}
    assert "github" in await identities(elsewhere, owner.access)


async def test_only_ids_are_let_go_of(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    answers = [await elsewhere.api.call("DELETE", f"{IDENTITIES}/{each}", made.access) for each in ("begin", "google")]
    assert [answer.status_code for answer in answers] == [405, 404]


async def test_unknown_providers_cannot_be_linked(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    body = {"provider": "nobody", "return_to": PAGE}
    assert (await elsewhere.api.post(f"{IDENTITIES}/begin", body, made.access)).status_code == 404
    assert (await elsewhere.api.get(f"{PROVIDERS}/", made.access)).status_code == 200
