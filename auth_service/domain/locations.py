"""Where people say that they are, and who of them is near. Positions are coarse from the start, forgotten after a day,
and never leave: an answer has whole kilometres.

Whoever moves about and looks each time could still draw circles around somebody and see where they cross. So distances
are measured to the crossing of a grid of about a kilometre that is next to the other, and lead to that and no further.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from auth_service.domain import people, quotas, visibility
from auth_service.domain.kit import Kit
from auth_service.domain.people import Person
from auth_service.domain.visibility import Viewer
from auth_service.errors import NotSharing
from auth_service.models import Location, User

LIFETIME = timedelta(hours=24)
_DECIMALS = 3
_EARTH_KM = 6371.0088
_CELLS_A_DEGREE = 100
# So that rounding leaves nobody outside the box who is inside the circle.
_MARGIN = 0.5 / _CELLS_A_DEGREE + 1e-6
_LOOKS_A_MINUTE = 30


@dataclass(frozen=True, slots=True)
class Place:
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    person: Person
    distance_km: int


async def share(db: AsyncSession, user_id: UUID, place: Place, *, now: datetime) -> Location:
    row = {
        "latitude": round(place.latitude, _DECIMALS),
        "longitude": round(place.longitude, _DECIMALS),
        "shared_at": now,
        "expires_at": now + LIFETIME,
    }
    statement = insert(Location).values(user_id=user_id, **row)
    await db.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=row))
    return Location(user_id=user_id, **row)


async def stop_sharing(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(delete(Location).where(Location.user_id == user_id))


async def nearby(db: AsyncSession, kit: Kit, me: UUID, *, radius_km: int, limit: int) -> list[Neighbour]:
    """The nearest first. Raises NotSharing for somebody who shows nothing of themselves."""
    now = kit.clock.now()
    async with kit.database.transaction() as counting:
        window = timedelta(minutes=1)
        await quotas.take(counting, f"nearby:{me}", most=_LOOKS_A_MINUTE, window=window, now=now)
    own = await db.scalar(select(Location).where(Location.user_id == me, Location.expires_at > now))
    if own is None:
        raise NotSharing
    # Not as staff, whatever the role: this is among people who share with each other.
    viewer = Viewer(me)
    distance = _distance_km(Place(own.latitude, own.longitude))
    rounded = func.greatest(func.ceil(distance), 1)
    near = select(User.id, rounded.label("km")).join(Location, Location.user_id == User.id)
    near = near.where(_in_box(own.latitude, own.longitude, radius_km), rounded <= radius_km, Location.expires_at > now)
    near = near.where(User.id != me, visibility.exists_for(viewer), visibility.unblocked(viewer))
    # Within one kilometre by id: a finer order would tell what the number does not.
    rows = (await db.execute(near.order_by(rounded, User.id).limit(limit))).all()
    kilometres = {row.id: int(row.km) for row in rows}
    found = await people.many(db, viewer, list(kilometres))
    return [Neighbour(person, kilometres[person.id]) for person in found]


def _distance_km(place: Place) -> ColumnElement[float]:
    """On a sphere, by the haversine formula."""
    latitude, longitude = _on_grid(Location.latitude), _on_grid(Location.longitude)
    here, there = math.radians(place.latitude), func.radians(latitude)
    half_chord = func.power(func.sin((there - here) / 2), 2) + math.cos(here) * func.cos(there) * func.power(
        func.sin(func.radians(longitude - place.longitude) / 2), 2
    )
    return 2 * _EARTH_KM * func.asin(func.sqrt(func.least(1.0, half_chord)))


def _on_grid(degrees: InstrumentedAttribute[float]) -> ColumnElement[float]:
    cell: ColumnElement[float] = func.round(degrees * _CELLS_A_DEGREE)
    return cell / float(_CELLS_A_DEGREE)


def _in_box(latitude: float, longitude: float, radius_km: float) -> ColumnElement[bool]:
    """What holds the circle, and what the index can find."""
    angle = radius_km / _EARTH_KM
    reach = math.degrees(angle) + _MARGIN
    rows = Location.latitude.between(latitude - reach, latitude + reach)
    if abs(latitude) + reach >= 90:
        # A pole is inside: every longitude is near it.
        return rows
    width = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude))))) + _MARGIN
    return and_(rows, or_(*(Location.longitude.between(west, east) for west, east in _spans(longitude, width))))


def _spans(longitude: float, width: float) -> Iterator[tuple[float, float]]:
    """Of longitudes, in two parts where the date changes."""
    west, east = longitude - width, longitude + width
    yield west, east
    if west < -180:
        yield west + 360, 180
    if east > 180:
        yield -180, east - 360
