"""Who a campaign goes to: beforehand, and what became of each."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page
from libs.shapes import Text
from notify_service.deps import Outside, Paging, SeenCampaign
from notify_service.domain import forecasts, previews, recipient_sheets, sent
from notify_service.domain.previews import Tools
from notify_service.schemas.campaigns import CampaignPreview, CampaignTest, Forecast, Preview, Previews
from notify_service.schemas.deliveries import Accepted, Batch, SentDelivery, State

router = APIRouter(prefix="/api/v1/campaigns/{campaign_id:uuid}", tags=["campaigns"])
Reason = Annotated[Text | None, Query(max_length=100)]
# A campaign that has not begun has no deliveries.
_NONE = UUID(int=0)
_SHEET: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A heading, and a line for each."}
}


@router.post("/check")
async def check_campaign(campaign: SeenCampaign, db: Db, clock: Now, outside: Outside) -> Forecast:
    """What would become of it if it began now: who gets nothing, and why, and how long it would take."""
    links = outside.unsubscribe_links
    found = await forecasts.check(db, campaign, outside.channels.of, links=links, now=clock.now())
    return Forecast.model_validate(found)


@router.post("/preview")
async def preview_campaign(
    body: CampaignPreview, campaign: SeenCampaign, db: Db, *, clock: Now, outside: Outside
) -> Previews:
    """What some of its recipients would get, rendered as it is when it is sent."""
    tools = Tools(outside.channels.of, outside.cipher, outside.unsubscribe_links, clock)
    found = await previews.preview(db, campaign, tools, positions=body.positions, sample=body.sample)
    return Previews(results=[Preview.model_validate(each) for each in found])


@router.post("/test", status_code=202)
async def test_campaign(
    body: CampaignTest, campaign: SeenCampaign, db: Db, *, clock: Now, once: OnceOnly, outside: Outside
) -> Batch:
    """Sends it to a few addresses, to try it out. They are no recipients of the campaign, and are not counted."""

    async def make() -> Batch:
        taken = await previews.try_out(
            db, campaign, body.to, variables=body.variables, means=outside.means, now=clock.now()
        )
        outside.signals.wake(db, *taken.senders)
        return Batch(
            id=taken.batch_id, account=taken.account, deliveries=list(map(Accepted.model_validate, taken.deliveries))
        )

    return await once(body, make, Batch)


@router.get("/recipients", response_model=Page[SentDelivery])
async def list_recipients(
    campaign: SeenCampaign, db: Db, *, paging: Paging, state: State | None = None, reason: Reason = None
) -> Page[Any]:
    """What became of each, the last of the audience first; with `state` or `reason` only those. None before it has
    begun."""
    query = sent.of_batch(campaign.owner, campaign.batch_id or _NONE, state, reason)
    rows = await sent.page(db, query, before=paging.id, limit=paging.paging.limit)
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.get("/recipients.csv", response_class=StreamingResponse, responses=_SHEET)
async def export_recipients(
    campaign: SeenCampaign, outside: Outside, state: State | None = None, reason: Reason = None
) -> StreamingResponse:
    """The same as a table. What a spreadsheet would take for a formula has an apostrophe before it."""
    query = sent.of_batch(campaign.owner, campaign.batch_id or _NONE, state, reason)
    headers = {"Content-Disposition": f'attachment; filename="campaign-{campaign.id}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(
        recipient_sheets.sheet(outside.database, query), media_type="text/csv; charset=utf-8", headers=headers
    )
