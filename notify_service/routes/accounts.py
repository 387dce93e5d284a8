from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text
from notify_service.deps import Admin, Outside
from notify_service.domain import account_changes, endpoints, threads
from notify_service.domain.account_changes import By, Shown, Wanted
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.quotas import Standing
from notify_service.schemas.accounts import (
    Account,
    AccountCreate,
    AccountMade,
    Accounts,
    AccountUpdate,
    Channel,
    Channels,
    EndpointTested,
    Hearing,
    Quota,
    Thread,
)

router = APIRouter(tags=["accounts"])
Paging = Annotated[PageRequest, keyset(datetime, str)]
Name = Annotated[Text, Path(max_length=40)]


@router.get("/api/v1/channels")
async def list_channels(_me: CurrentUser) -> Channels:
    """Every provider that messages can go over: what it takes and promises, and what an account of it needs."""
    return Channels(
        results=[
            Channel(
                channel=each.capability.channel,
                provider=each.capability.provider,
                capability=_capability(asdict(each.capability)),
                config=each.config.model_json_schema(),
                secrets=each.secrets.model_json_schema(),
            )
            for each in sorted(PROVIDERS.values(), key=lambda each: (each.capability.channel, each.capability.provider))
        ]
    )


@router.get("/api/v1/accounts")
async def list_accounts(db: Db, _me: Admin, clock: Now) -> Accounts:
    """All sending accounts, how they fare, and how much of their day is used."""
    return Accounts(results=[_account(each) for each in await account_changes.everyone(db, clock.now())])


@router.post("/api/v1/accounts", status_code=201)
async def create_account(body: AccountCreate, db: Db, request: Request, *, me: Admin, clock: Now) -> AccountMade:
    """Sets an account up. It sends from the next message on. Secrets of which you have to know and that you did not
    give, as an endpoint's, are made, and shown here once."""
    made = await account_changes.create(
        db,
        _by(me, clock, request),
        Wanted(body.config, body.secrets, body.limits),
        name=body.name,
        provider=body.provider,
    )
    return _made(made)


@router.get("/api/v1/accounts/{name}")
async def read_account(name: Name, db: Db, _me: Admin, clock: Now) -> Account:
    """One account. Its secrets are never shown."""
    return _account(await account_changes.read(db, name, clock.now()))


@router.patch("/api/v1/accounts/{name}")
async def change_account(
    name: Name, body: AccountUpdate, db: Db, request: Request, *, me: Admin, clock: Now
) -> AccountMade:
    """Changes what you give. A provider that had refused the account is asked again."""
    changed = await account_changes.change(
        db,
        _by(me, clock, request),
        Wanted(body.config, body.secrets, body.limits),
        name=name,
    )
    return _made(changed)


@router.delete("/api/v1/accounts/{name}", status_code=204)
async def delete_account(name: Name, db: Db, request: Request, *, me: Admin, clock: Now) -> None:
    """Removes it, if no message waits for it."""
    await account_changes.remove(db, _by(me, clock, request), name)


@router.post("/api/v1/accounts/{name}/test", status_code=202)
async def test_endpoint(name: Name, db: Db, *, me: Admin, clock: Now, outside: Outside) -> EndpointTested:
    """Sends the event `test` to a customer's endpoint, whatever it listens to."""
    sent = await endpoints.test(db, name, owner=str(me.user_id), now=clock.now())
    # Not by name: whoever tries out what was just changed wants it tried as it is now.
    outside.signals.wake(db)
    return EndpointTested(id=sent)


def _by(me: Admin, clock: Now, request: Request) -> By:
    state = request.app.state
    return By(me.user_id, clock.now(), state.cipher, state.private_networks)


@router.get("/api/v1/accounts/{name}/threads", response_model=Page[Thread])
async def list_threads(name: Name, db: Db, _me: Admin, *, clock: Now, paging: Paging) -> Page[Any]:
    """Who has written to the account, the last one first, and until when free text may answer."""
    rows = await threads.page(db, name, before=paging.key, limit=paging.limit, now=clock.now())
    shown = paging.page(rows, lambda row: (row.thread.last_inbound_at, row.thread.peer))
    return Page(results=[_thread(each) for each in shown.results], next=shown.next, previous=shown.previous)


def _thread(shown: threads.Shown) -> Thread:
    row = shown.thread
    return Thread(
        peer=row.peer,
        alias=row.alias,
        name=row.name,
        last_inbound_at=row.last_inbound_at,
        open=shown.is_open,
        window_closes_at=shown.closes_at,
    )


def _account(shown: Shown) -> Account:
    row = shown.account
    values = {name: getattr(row, name) for name in Account.model_fields if hasattr(row, name)}
    hearing = Hearing.model_validate(shown.polling) if shown.polling else None
    return Account.model_validate(
        {
            **values,
            "state": shown.state,
            "down_until": row.down_until if shown.state == "down" else None,
            "quota": _quota(shown.quota, shown.hours),
            "recipients": _quota(shown.recipients, shown.recipient_hours),
            "waiting": shown.waiting,
            "hearing": hearing,
        }
    )


def _quota(standing: Standing | None, hours: int) -> Quota | None:
    if standing is None:
        return None
    return Quota(limit=standing.limit, hours=hours, used=standing.used, left=standing.left, more_at=standing.more_at)


def _made(shown: Shown) -> AccountMade:
    return AccountMade(**_account(shown).model_dump(), made=dict(shown.made))


def _capability(given: dict[str, Any]) -> dict[str, Any]:
    """As JSON: sets in their order."""
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in given.items()}
