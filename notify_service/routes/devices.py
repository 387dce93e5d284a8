import json
from uuid import UUID

from fastapi import APIRouter, Response

from libs.auth import CurrentUser
from libs.deps import Db, Now
from notify_service import models
from notify_service.deps import Outside
from notify_service.domain import devices, sending
from notify_service.domain.devices import Given
from notify_service.schemas.devices import Device, DeviceRegister, Devices, PushKey

router = APIRouter(prefix="/api/v1/push", tags=["push"])


@router.get("/key")
async def read_key(db: Db, _me: CurrentUser) -> PushKey:
    """What a browser needs to subscribe. 404 `no_push_key`: this Parley sends nothing to browsers."""
    account, public_key = await devices.key(db)
    return PushKey(account=account, public_key=public_key)


@router.get("/devices")
async def list_devices(db: Db, me: CurrentUser) -> Devices:
    """Where you are told."""
    return Devices(results=[_shown(each) for each in await devices.everything(db, me.user_id)])


@router.post("/devices", status_code=201, responses={200: {"model": Device, "description": "It was yours already."}})
async def register_device(
    body: DeviceRegister, response: Response, db: Db, *, me: CurrentUser, clock: Now, outside: Outside
) -> Device:
    """From now on you are told there, and whoever was before is not. Register it whenever your program starts."""
    given = body.address if isinstance(body.address, str) else json.dumps(body.address)
    address = sending.address_in(body.channel, given)
    wanted = Given(body.channel, address, body.account, body.name)
    inside = outside.private_networks
    device, is_new = await devices.register(db, me.user_id, wanted, clock.now(), private_networks=inside)
    if not is_new:
        response.status_code = 200
    return _shown(device)


@router.delete("/devices/{device_id:uuid}", status_code=204)
async def remove_device(device_id: UUID, db: Db, me: CurrentUser) -> None:
    """You are told there no more. Do this when you sign out."""
    await devices.remove(db, me.user_id, device_id)


def _shown(device: models.Device) -> Device:
    return Device(
        id=device.id,
        channel=device.channel,
        account=device.account,
        address=devices.shown(device.channel, device.user_id, device.address),
        name=device.name,
        created_at=device.created_at,
        seen_at=device.seen_at,
    )
