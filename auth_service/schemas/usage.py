"""How often the API was called."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from auth_service.domain.usage import share_within
from auth_service.models import ApiUsage
from libs.contracts.usage import LATENCY_BOUNDS_MS
from libs.shapes import Moment

_BOUNDS = ", ".join(map(str, LATENCY_BOUNDS_MS))


class Latency(BaseModel):
    """From the head of a request to the end of its answer; a stream takes as long as it is open."""

    mean_ms: float
    p50_ms: int | None = Field(description="Half of the calls took at most so long. Null: longer than the last bound.")
    p95_ms: int | None = Field(description="The same for 95 of 100 calls.")
    classes: list[int] = Field(
        description=f"Calls by the time they took: up to {_BOUNDS} ms, and longer. Those of several hours can be added."
    )


class UsageShown(BaseModel):
    """Calls below one route in one hour. `refused` were answered with 4xx, `errors` with 5xx."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hour": "2026-11-22T08:00:00Z",
                    "route": "/api/v1/messages",
                    "calls": 4,
                    "refused": 1,
                    "errors": 0,
                    "latency": {
                        "mean_ms": 11.5,
                        "p50_ms": 10,
                        "p95_ms": 25,
                        "classes": [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    },
                }
            ]
        }
    )

    hour: Moment = Field(description="When the hour began.")
    route: str = Field(description="The longest prefix of the gateway's table that the path has.")
    calls: int
    refused: int
    errors: int
    latency: Latency

    @classmethod
    def of(cls, row: ApiUsage) -> Self:
        return cls(
            hour=row.hour,
            route=row.route,
            calls=row.calls,
            refused=row.refused,
            errors=row.errors,
            latency=Latency(
                mean_ms=round(row.micros / row.calls / 1000, 3) if row.calls else 0.0,
                p50_ms=share_within(row.latency, 0.5),
                p95_ms=share_within(row.latency, 0.95),
                classes=row.latency,
            ),
        )
