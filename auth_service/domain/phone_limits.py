"""Who may have messages sent, and to where. Every message costs money, and to some numbers it earns somebody else's.

What is not sent is left unsent in silence, whatever the reason: whoever pumps messages must not learn which of their
numbers work, nor when to go on from another address. Those who run the service see each of them, in the metrics, in
the logs and in the audit log.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, floods, quotas
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.texting import Budgets, Texting
from auth_service.models import PhoneCode
from libs.errors import RateLimited

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RESEND = MINUTE
_A_PHONE = ((MINUTE, 1), (HOUR, 5), (DAY, 10))
_AN_ADDRESS_AN_HOUR = 10
_PHONES_OF_AN_ADDRESS_AN_HOUR = 20
WITHHELD = Counter("parley_texts_withheld_total", "Texts that were asked for and not sent.", ["kind", "reason"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Text:
    """One that somebody wants sent; `user_id` is theirs where that is known, `kind` names the template."""

    kind: str
    phone: str
    user_id: UUID | None = None


async def reason_of_address(db: AsyncSession, client: Client, phone: str, *, now: datetime) -> str | None:
    """None: this address may ask for one more message. Counts every request, whether or not a message leaves."""
    address = network(client)
    if address is None:
        return None
    is_near = await _is_near(db, address, phone, now=now)
    has_room = await quotas.allows(db, f"phone_codes:{address}", most=_AN_ADDRESS_AN_HOUR, window=HOUR, now=now)
    if has_room:
        return None if is_near else "phones"
    return "address"


async def require_phone(db: AsyncSession, client: Client, phone: str, *, now: datetime) -> None:
    """Raises RateLimited for an address that has had to do with many phones this hour: one guess at each of a thousand
    codes is as good as a thousand guesses at one."""
    address = network(client)
    if address is not None and not await _is_near(db, address, phone, now=now):
        raise RateLimited(await quotas.seconds_left(db, f"phones:{address}", now=now))


async def _is_near(db: AsyncSession, address: str, phone: str, *, now: datetime) -> bool:
    """Whether the phone is one of the few that the address has had to do with this hour, or may become one."""
    key = f"phones:{address}"
    async with db.begin_nested() as trial:
        is_new = await quotas.allows(db, f"{key}:{phone}", most=1, window=HOUR, now=now)
        # The same work for one that was counted before: others at the address could look for what its people do.
        counted = key if is_new else f"{key}:again"
        room = await quotas.allows(db, counted, most=_PHONES_OF_AN_ADDRESS_AN_HOUR, window=HOUR, now=now)
        if is_new and not room:
            await trial.rollback()
    return room or not is_new


async def reason_not_to_send(
    db: AsyncSession, texting: Texting, phone: str, *, client: Client, now: datetime
) -> str | None:
    """None: send it. Needs the lock of the phone, so that twenty requests at once make one message.

    All is looked at, whatever was found, and the budgets are used: undo that where nothing is sent.
    """
    has_share = await _has_share(db, phone, now)
    budgets = await _reason_of_budgets(db, texting.budgets, phone, client=client, now=now)
    return texting.reason_against(phone) or (budgets if has_share else "phone")


async def may_tell(db: AsyncSession, texting: Texting, text: Text, *, client: Client, now: datetime) -> bool:
    """Whether a phone may be told something that it did not ask for. The budgets hold, its own share does not."""
    async with db.begin_nested() as trial:
        budgets = await _reason_of_budgets(db, texting.budgets, text.phone, client=client, now=now)
        reason = texting.reason_against(text.phone) or budgets
        if reason is not None:
            await trial.rollback()
    await note(db, texting, text, reason, client=client, now=now)
    return reason is None


async def note(
    db: AsyncSession, texting: Texting, text: Text, withheld: str | None, *, client: Client, now: datetime
) -> None:
    """Where those who run the service look: a text is an entry of the audit log, those kept back by one in a flood.

    The account stands in the details, which nobody but them reads: in the log that its owner sees, and in the copy of
    their data, the reason would be an answer.
    """
    prefix, _ = texting.budgets.prefix_of(text.phone)
    data = {"kind": text.kind, "prefix": prefix, **({"account": str(text.user_id)} if text.user_id else {})}
    entry = Entry(action="text.sent", result="refused" if withheld else "ok", reason=withheld, data=data)
    if withheld is None:
        await audit.record(db, entry, client, now=now)
    else:
        await floods.record(db, entry, client, of=client.network, now=now)
        WITHHELD.labels(text.kind, withheld).inc()
        log.warning("text_withheld", reason=withheld, **data)


def network(client: Client) -> str | None:
    """The address that counts: of IPv6, where everybody has a whole network, the /64."""
    return _network(client, v4=32, v6=64)


def _network(client: Client, *, v4: int, v6: int) -> str | None:
    if client.ip is None:
        return None
    address = ipaddress.ip_address(client.ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network(f"{address}/{v4 if address.version == 4 else v6}", strict=False))


async def _has_share(db: AsyncSession, phone: str, now: datetime) -> bool:
    counts = [func.count().filter(PhoneCode.created_at > now - window) for window, _ in _A_PHONE]
    sent = PhoneCode.phone == phone, PhoneCode.code.is_not(None), PhoneCode.created_at > now - DAY
    row = (await db.execute(select(*counts).where(*sent))).one()
    return all(count < most for count, (_, most) in zip(row, _A_PHONE, strict=True))


async def _reason_of_budgets(
    db: AsyncSession, budgets: Budgets, phone: str, *, client: Client, now: datetime
) -> str | None:
    """What many addresses and many phones can be told by: where they are, and how much there is of them."""
    neighbours = _network(client, v4=24, v6=48)
    prefix, a_day = budgets.prefix_of(phone)
    limits = (
        ("network", f"messages:{neighbours}", budgets.network, HOUR),
        ("prefix", f"messages:{prefix}", a_day, DAY),
        ("budget", "messages", budgets.total, HOUR),
    )
    spent = [
        reason
        for reason, key, most, window in limits
        if not await quotas.allows(db, key, most=most, window=window, now=now) or most == 0
    ]
    return spent[0] if spent else None
