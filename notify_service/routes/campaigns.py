import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page
from notify_service.deps import HeldCampaign, MaySend, Outside, Paging, SeenCampaign, WaysOut
from notify_service.domain import campaigns, forecasts
from notify_service.domain.campaign_events import Standing
from notify_service.schemas.campaigns import (
    Campaign,
    CampaignCreate,
    CampaignResend,
    CampaignSchedule,
    CampaignUpdate,
    OneCampaign,
    Resent,
    State,
)

router = APIRouter(prefix="/api/v1/campaigns", tags=["campaigns"])
one = APIRouter(prefix="/api/v1/campaigns/{campaign_id:uuid}", tags=["campaigns"])
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}, "event": {"const": "campaign.progress"}}}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "`Progress` as JSON in each event."}
}


@router.get("", response_model=Page[Campaign])
async def list_campaigns(db: Db, *, me: MaySend, paging: Paging, state: State | None = None) -> Page[Any]:
    """Your campaigns, newest first; with `state` only those in it."""
    rows = await campaigns.page(db, str(me.user_id), state=state, before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.post("", status_code=201)
async def create_campaign(
    body: CampaignCreate, db: Db, *, me: MaySend, clock: Now, once: OnceOnly, links: WaysOut
) -> Campaign:
    """Makes a draft. Nothing is sent until it is started, or its time has come."""

    async def make() -> Campaign:
        made = await campaigns.create(db, str(me.user_id), body.columns, links=links, now=clock.now())
        return Campaign.model_validate(made)

    return await once(body, make, Campaign)


@one.get("")
async def read_campaign(campaign: SeenCampaign, db: Db, clock: Now, outside: Outside) -> OneCampaign:
    """One campaign, with how far it has come and when it will be over."""
    shown = OneCampaign.model_validate(campaign)
    shown.eta_seconds = await forecasts.eta(db, campaign, outside.channels.of, clock.now())
    return shown


@one.patch("")
async def change_campaign(
    body: CampaignUpdate, campaign: HeldCampaign, db: Db, *, clock: Now, links: WaysOut
) -> Campaign:
    """Changes what you give, while it is a draft."""
    await campaigns.change(db, campaign, body.columns, version=body.version, links=links, now=clock.now())
    return Campaign.model_validate(campaign)


@one.delete("", status_code=204)
async def delete_campaign(campaign: HeldCampaign, db: Db) -> None:
    """Removes a draft."""
    await campaigns.remove(db, campaign)


@one.post("/schedule")
async def schedule_campaign(
    body: CampaignSchedule, campaign: HeldCampaign, db: Db, *, clock: Now, links: WaysOut
) -> Campaign:
    """It begins at that time, with the audience of then. What keeps it from beginning makes it a draft, with a
    `fault`."""
    await campaigns.schedule(db, campaign, body.send_at, links=links, now=clock.now())
    return Campaign.model_validate(campaign)


@one.post("/unschedule")
async def unschedule_campaign(campaign: HeldCampaign, db: Db, clock: Now) -> Campaign:
    """Makes it a draft again."""
    await campaigns.unschedule(db, campaign, clock.now())
    return Campaign.model_validate(campaign)


@one.post("/start")
async def start_campaign(campaign: HeldCampaign, db: Db, clock: Now, outside: Outside) -> Campaign:
    """Begins at once: makes a delivery for everybody who is in the audience now."""
    await campaigns.start(db, campaign, links=outside.unsubscribe_links, now=clock.now())
    outside.signals.wake(db)
    return Campaign.model_validate(campaign)


@one.post("/pause")
async def pause_campaign(campaign: HeldCampaign, db: Db, clock: Now) -> Campaign:
    """Once this is answered nothing begins to leave; what was on its way comes to its end."""
    await campaigns.pause(db, campaign, clock.now())
    return Campaign.model_validate(campaign)


@one.post("/resume")
async def resume_campaign(campaign: HeldCampaign, db: Db, clock: Now, outside: Outside) -> Campaign:
    """Goes on where it was paused."""
    await campaigns.resume(db, campaign, clock.now())
    outside.signals.wake(db)
    return Campaign.model_validate(campaign)


@one.post("/cancel")
async def cancel_campaign(campaign: HeldCampaign, db: Db, clock: Now) -> Campaign:
    """Ends it for good. What has not left is cancelled."""
    await campaigns.cancel(db, campaign, clock.now())
    return Campaign.model_validate(campaign)


@one.post("/resend")
async def resend_campaign(
    body: CampaignResend, campaign: HeldCampaign, db: Db, *, clock: Now, outside: Outside
) -> Resent:
    """Tries those again that ended so; their attempts until now stay on record."""
    count = await campaigns.resend(db, campaign, set(body.states), clock.now())
    outside.signals.wake(db)
    return Resent(resent=count)


@one.get("/events", response_class=StreamingResponse, responses=_EVENTS)
async def follow_campaign(campaign: SeenCampaign, outside: Outside) -> StreamingResponse:
    """Server-sent events: `campaign.progress` whenever something has changed, at most once a second, until the campaign
    is over. After five minutes the stream ends, and a client comes back by itself."""
    standings = outside.following.follow(campaign.owner, campaign.id)
    # Some proxies collect answers unless they are told not to.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(standings), media_type="text/event-stream", headers=headers)


async def _events(standings: AsyncIterator[Standing | None]) -> AsyncIterator[str]:
    async for each in standings:
        data = json.dumps(asdict(each), separators=(",", ":")) if each else None
        yield f"event: campaign.progress\ndata: {data}\n\n" if data else ": \n\n"
