from pydantic import ConfigDict

from libs.shapes import Moment, Resource
from notify_service.domain.categories import Digest, Rule, Throttle


class CategoryRule(Rule):
    """What holds for all messages of a category, whoever sends them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "throttle": {"most": 3, "seconds": 3600},
                    "digest": {"window": {"kind": "daily", "at": "08:00"}, "content": {"text": "Today:\n\n{{items}}"}},
                }
            ]
        }
    )


class Category(Resource):
    name: str
    throttle: Throttle | None
    digest: Digest | None
    updated_at: Moment
