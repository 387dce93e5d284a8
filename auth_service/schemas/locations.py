"""Where one is, and who is near."""

from pydantic import BaseModel, ConfigDict, Field

from auth_service.schemas.users import User
from libs.shapes import Body, Moment, Resource


class Position(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"latitude": 52.52, "longitude": 13.405}]})

    latitude: float = Field(strict=True, ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(strict=True, ge=-180, le=180, allow_inf_nan=False)


class SharedPosition(Resource):
    """As it is kept: three decimals, about a hundred metres."""

    latitude: float
    longitude: float
    expires_at: Moment


class NearbyUser(User):
    model_config = ConfigDict(from_attributes=True, json_schema_extra={})

    distance_km: int = Field(description="Rounded up to whole kilometres.")


class Nearby(BaseModel):
    results: list[NearbyUser]
    count: int
