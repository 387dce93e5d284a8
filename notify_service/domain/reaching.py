"""Whom a message is for, and where they are found on a channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import devices, profiles
from notify_service.domain.channels import Provider
from notify_service.domain.profiles import Ask
from notify_service.models import Device, Profile

_NO_USER = "There is no such user."


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """One recipient: an address, or a user's."""

    address: str | None = None
    user_id: UUID | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    dedupe_key: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reach:
    """How recipients are reached over one channel."""

    provider: Provider
    known: Mapping[UUID, Profile]
    devices: Mapping[UUID, Sequence[Device]]

    def addresses(self, to: To) -> Sequence[tuple[str, str | None]]:
        """Each with the account of its device, if it is one. Raises ValueError with a sentence for people."""
        if to.user_id is None or self.provider.capability.channel not in devices.CHANNELS:
            return [(self.provider.check_address(address_of(to, self.provider, self.known)), None)]
        if to.user_id not in self.known:
            raise ValueError(_NO_USER)
        if to.user_id not in self.devices:
            raise ValueError("This user has no device on this channel.")
        return [(each.address, each.account) for each in self.devices[to.user_id]]


async def reach(
    db: AsyncSession,
    to: Sequence[To],
    provider: Provider,
    *,
    account: str | None,
    ask: Ask,
    known: Mapping[UUID, Profile],
) -> Reach:
    """`account`: over which users' devices are reached; None: any of the channel. `known`: who was found already."""
    users = {each.user_id for each in to if each.user_id}
    known = {**known, **await profiles.find(db, users - known.keys(), ask)}
    channel = provider.capability.channel
    theirs = await devices.among(db, channel, users, account) if channel in devices.CHANNELS else {}
    return Reach(provider, known, theirs)


def named(recipients: Sequence[To], provider: Provider) -> Sequence[To]:
    """Where addresses are ids of users, those who are given by one are users."""
    if provider.capability.address != "user":
        return recipients
    return [to if to.user_id else replace(to, user_id=_id_in(to.address or "")) for to in recipients]


def _id_in(address: str) -> UUID | None:
    try:
        return UUID(address)
    except ValueError:
        return None


def address_of(to: To, provider: Provider, known: Mapping[UUID, Profile]) -> str:
    """As it was given, or the confirmed one of the user. Raises ValueError with a sentence for people."""
    if to.user_id is None:
        return to.address or ""
    profile = known.get(to.user_id)
    if profile is None:
        raise ValueError(_NO_USER)
    address = profiles.address_of(profile, provider.capability.address)
    if not address:
        raise ValueError("This user has no confirmed address for this channel.")
    return address
