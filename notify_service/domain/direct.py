"""What one person writes to another through us: the calls of the Sender client."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import FieldError, Invalid
from libs.ids import uuid7
from notify_service.domain import allowances, orders, sending
from notify_service.domain.channels import Provider
from notify_service.domain.content import Approved, Content
from notify_service.domain.orders import Order
from notify_service.errors import NoAccount
from notify_service.models import Account

# What people write goes in as a value: braces of theirs are braces.
_MAIL = Content(subject="{{subject}}", text="{{text}}")
_TEXT = Content(text="{{text}}")


@dataclass(frozen=True, slots=True)
class Mail:
    owner: str
    to: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class WhatsApp:
    """Without a text: the template."""

    owner: str
    to: str
    text: str | None
    template: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Parcel:
    owner: str
    account: Account
    address: str
    content: Content
    said: dict[str, str]


async def send_mail(db: AsyncSession, mail: Mail, *, most: int, now: datetime) -> UUID:
    """Raises Invalid, NoAccount, and RateLimited for one more than `most` in a sliding day."""
    account, provider = await _sender(db, "email", now)
    address = _checked(provider, mail.to, "Enter a valid email address.")
    said = {"subject": " ".join(mail.subject.split()), "text": mail.text}
    await allowances.take(db, mail.owner, account.channel, most=most, now=now)
    return await _send(db, _Parcel(mail.owner, account, address, _MAIL, said), now)


async def send_whatsapp(db: AsyncSession, message: WhatsApp, *, most: int, now: datetime) -> UUID:
    """As for mails."""
    account, provider = await _sender(db, "whatsapp", now)
    address = _checked(provider, message.to, "Enter a valid phone number.")
    await allowances.take(db, message.owner, account.channel, most=most, now=now)
    if message.text is None:
        name, language = message.template
        parcel = _Parcel(message.owner, account, address, Content(template=Approved(name=name, language=language)), {})
    else:
        parcel = _Parcel(message.owner, account, address, _TEXT, {"text": message.text})
    return await _send(db, parcel, now)


async def _sender(db: AsyncSession, channel: str, now: datetime) -> tuple[Account, Provider]:
    try:
        return await sending.sender_of(db, channel, None, now)
    except Invalid:
        raise NoAccount from None


def _checked(provider: Provider, address: str, refusal: str) -> str:
    try:
        return provider.check_address(address)
    except ValueError:
        raise Invalid(errors=[FieldError("to", refusal)]) from None


async def _send(db: AsyncSession, parcel: _Parcel, now: datetime) -> UUID:
    delivery_id, batch_id = uuid7(), uuid7()
    batch = orders.batch_row(batch_id, owner=parcel.owner, content=parcel.content, now=now)
    order = Order(
        id=delivery_id,
        owner=parcel.owner,
        batch_id=batch_id,
        channel=parcel.account.channel,
        account=parcel.account.name,
        address=parcel.address,
        category=allowances.DIRECT,
        variables=parcel.said,
    )
    await orders.place(db, batch, [order], now)
    return delivery_id
