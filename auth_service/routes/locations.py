"""People nearby, among those who want to be found."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, status

from auth_service.deps import Tools
from auth_service.domain import locations
from auth_service.domain.locations import Place
from auth_service.schemas.locations import Nearby, NearbyUser, Position, SharedPosition
from libs.auth import CurrentUser
from libs.deps import Db, Now

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.put("/me/location")
async def share_location(body: Position, me: CurrentUser, db: Db, clock: Now) -> SharedPosition:
    """Lets people nearby find the caller for 24 hours. Nobody gets the position itself."""
    place = Place(body.latitude, body.longitude)
    return SharedPosition.model_validate(await locations.share(db, me.user_id, place, now=clock.now()))


@router.delete("/me/location", status_code=status.HTTP_204_NO_CONTENT)
async def stop_sharing_location(me: CurrentUser, db: Db) -> None:
    """Nobody finds the caller nearby from now on."""
    await locations.stop_sharing(db, me.user_id)


@router.get("/nearby", responses={403: {"description": "The caller does not share a location."}})
async def list_nearby_users(
    *,
    me: CurrentUser,
    db: Db,
    kit: Tools,
    radius_km: Annotated[int, Query(ge=1, le=50)] = 5,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Nearby:
    """People who share their location, the nearest first, for callers who share theirs. At most 30 times a minute."""
    near = await locations.nearby(db, kit, me.user_id, radius_km=radius_km, limit=limit)
    found = [NearbyUser(**asdict(each.person), distance_km=each.distance_km) for each in near]
    return Nearby(results=found, count=len(found))
