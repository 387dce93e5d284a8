from fastapi import APIRouter

from libs.deps import Db, Now
from notify_service.deps import Admin
from notify_service.domain import queues
from notify_service.domain.turns import BULK, HIGH, NORMAL
from notify_service.schemas.queues import Queue, Queues, Waiting

router = APIRouter(prefix="/api/v1/queues", tags=["accounts"])


@router.get("")
async def list_queues(db: Db, _me: Admin, clock: Now) -> Queues:
    """What waits for each account, how late it is, and what holds it up."""
    return Queues(results=[_shown(each) for each in await queues.standing(db, clock.now())])


def _shown(found: queues.Queue) -> Queue:
    account, waiting = found.account, found.waiting
    return Queue(
        account=account.name,
        channel=account.channel,
        state=found.state,
        fault=account.fault,
        down_until=account.down_until if found.state == "down" else None,
        owned=found.owned,
        waiting=Waiting(high=waiting.get(HIGH, 0), normal=waiting.get(NORMAL, 0), bulk=waiting.get(BULK, 0)),
        capped=found.capped,
        retrying=found.retrying,
        in_flight=found.in_flight,
        oldest_seconds=found.late,
        held_batches=found.held,
        quota_left=found.quota.left if found.quota else None,
        recipients_left=found.recipients.left if found.recipients else None,
        rate=found.rate,
    )
