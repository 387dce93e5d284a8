"""What tests of hearing ask: what was told, and how the asking goes."""

from typing import Any

from tests.notify.asking import Person
from tests.notify.world import World


async def told(world: World, account: str) -> list[Any]:
    return await world.sql("SELECT dedupe_key, outcome FROM told WHERE account = $1", account)


async def hearing(admin: Person, account: str) -> Any:
    return (await admin.get(f"/accounts/{account}"))["hearing"]


async def well(admin: Person, account: str) -> bool:
    return (await hearing(admin, account))["fault"] is None
