"""Who may have messages sent, and to where. Every message costs money, and to some numbers it earns somebody else's.

Only an address that asks too often is told so. Everything else is left unsent in silence: whoever pumps messages must
not learn which of their numbers work.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import phonenumbers
from phonenumbers import PhoneNumberType
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import quotas
from auth_service.domain.clients import Client
from auth_service.models import PhoneCode

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RESEND = MINUTE
_A_PHONE = ((MINUTE, 1), (HOUR, 5), (DAY, 10))
_AN_ADDRESS_AN_HOUR = 10
_PHONES_OF_AN_ADDRESS_AN_HOUR = 20
# Numbers that a call or message costs extra, or that nobody reads messages at.
_EXPENSIVE = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)
_NO_COUNTRY = "001"


@dataclass(frozen=True, slots=True)
class Texting:
    """How this deployment sends codes. `countries` are regions (`DE`) and calling codes (`+49`); empty: all of them.
    The budgets are messages an hour."""

    key: bytes = field(repr=False)
    digits: int
    countries: frozenset[str]
    prefix_budget: int
    global_budget: int
    network_budget: int


def allowed(countries: Iterable[str]) -> frozenset[str]:
    """Raises ValueError for what is neither a region nor a calling code, as a typing error would stop all messages."""
    known = {entry.strip().upper() for entry in countries}
    for entry in known:
        code = entry.removeprefix("+")
        is_code = entry.startswith("+") and code.isdecimal() and int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE
        if not is_code and entry not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError("A country of AUTH_SMS_COUNTRIES is a region as DE or a calling code as +49.")
    return frozenset(known)


async def require_room(db: AsyncSession, client: Client, phone: str, *, now: datetime) -> None:
    """For one more message that this address asks for. Raises RateLimited."""
    address = network(client)
    if address is not None:
        await require_phone(db, client, phone, now=now)
        await quotas.take(db, f"phone_codes:{address}", most=_AN_ADDRESS_AN_HOUR, window=HOUR, now=now)


async def require_phone(db: AsyncSession, client: Client, phone: str, *, now: datetime) -> None:
    """Raises RateLimited for an address that has had to do with many phones this hour: one guess at each of a thousand
    codes is as good as a thousand guesses at one."""
    address = network(client)
    if address is None:
        return
    key = f"phones:{address}"
    if await quotas.allows(db, f"{key}:{phone}", most=1, window=HOUR, now=now):
        await quotas.take(db, key, most=_PHONES_OF_AN_ADDRESS_AN_HOUR, window=HOUR, now=now)


async def reason_not_to_send(
    db: AsyncSession, texting: Texting, phone: str, *, client: Client, now: datetime
) -> str | None:
    """None: send it. Needs the lock of the phone, so that twenty requests at once make one message.

    All is looked at, whatever was found, and the budgets are used: undo that where nothing is sent.
    """
    has_share = await _has_share(db, phone, now)
    budgets = await _reason_of_budgets(db, texting, phone, client=client, now=now)
    return _reason_of_number(texting, phone) or (budgets if has_share else "phone")


async def may_tell(db: AsyncSession, texting: Texting, phone: str, *, client: Client, now: datetime) -> bool:
    """Whether a phone may be told something that it did not ask for. The budgets hold, its own share does not."""
    if _reason_of_number(texting, phone) is not None:
        return False
    return await _reason_of_budgets(db, texting, phone, client=client, now=now) is None


def calling_code(phone: str) -> str:
    return f"+{phonenumbers.parse(phone).country_code}"


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


def _reason_of_number(texting: Texting, phone: str) -> str | None:
    number = phonenumbers.parse(phone)
    region = phonenumbers.region_code_for_number(number)
    if region == _NO_COUNTRY or phonenumbers.number_type(number) in _EXPENSIVE:
        return "expensive"
    if texting.countries and not texting.countries & {region, f"+{number.country_code}"}:
        return "country"
    return None


async def _has_share(db: AsyncSession, phone: str, now: datetime) -> bool:
    counts = [func.count().filter(PhoneCode.created_at > now - window) for window, _ in _A_PHONE]
    sent = PhoneCode.phone == phone, PhoneCode.code.is_not(None), PhoneCode.created_at > now - DAY
    row = (await db.execute(select(*counts).where(*sent))).one()
    return all(count < most for count, (_, most) in zip(row, _A_PHONE, strict=True))


async def _reason_of_budgets(
    db: AsyncSession, texting: Texting, phone: str, *, client: Client, now: datetime
) -> str | None:
    """What many addresses and many phones can be told by: where they are, and how much there is of them."""
    neighbours = _network(client, v4=24, v6=48)
    budgets = (
        ("network", f"messages:{neighbours}", texting.network_budget),
        ("prefix", f"messages:{calling_code(phone)}", texting.prefix_budget),
        ("budget", "messages", texting.global_budget),
    )
    spent = [
        reason
        for reason, key, most in budgets
        if not await quotas.allows(db, key, most=most, window=HOUR, now=now) or most == 0
    ]
    return spent[0] if spent else None
