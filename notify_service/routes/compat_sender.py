"""The two calls of the Sender client with which people write to anybody, `/api/communications/`."""

from fastapi import APIRouter

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.errors import FieldError, Invalid
from libs.idempotency import OnceOnly
from notify_service.deps import Limits, Outside
from notify_service.domain import direct
from notify_service.schemas.compat_sender import GivenMail, GivenWhatsApp, Queued, SenderQueued

router = APIRouter(prefix="/api/communications", tags=["Sender"])
_REQUIRED, _BLANK = "This field is required.", "This field may not be blank."
_MOST_SUBJECT, _MOST_NUMBER = 255, 20


@router.post("/email/", status_code=202)
async def send_mail(
    body: GivenMail, db: Db, *, me: CurrentUser, clock: Now, once: OnceOnly, outside: Outside, limits: Limits
) -> SenderQueued:
    """Mails somebody in your name, at most so many times in a sliding day."""
    to, subject, message = (_given(body, name) for name in ("to", "subject", "message"))
    if len(subject) > _MOST_SUBJECT:
        raise _wrong("subject", f"Ensure this field has no more than {_MOST_SUBJECT} characters.")

    async def make() -> SenderQueued:
        mail = direct.Mail(str(me.user_id), to, subject, message)
        task_id = await direct.send_mail(db, mail, most=limits.mails_a_day, now=clock.now())
        outside.signals.wake(db)
        return SenderQueued(data=Queued(message="Email queued for delivery", task_id=task_id))

    return await once(body, make, SenderQueued)


@router.post("/whatsapp/", status_code=202)
async def send_whatsapp(
    body: GivenWhatsApp, db: Db, *, me: CurrentUser, clock: Now, once: OnceOnly, outside: Outside, limits: Limits
) -> SenderQueued:
    """Sends a WhatsApp message in your name: a text, which arrives only where its reader has written to us within a
    day, or the template that is set up for this."""
    to = _given(body, "to")
    if len(to) > _MOST_NUMBER:
        raise _wrong("to", f"Ensure this field has no more than {_MOST_NUMBER} characters.")
    if not to.startswith("+"):
        raise _wrong("to", "Phone number must start with + and country code")
    if body.message_type not in ("text", "template"):
        raise _wrong("message_type", f'"{body.message_type[:100]}" is not a valid choice.')
    if body.message_type == "text" and not (body.message or "").strip():
        raise _wrong("message", "Message is required for text message type")
    text = body.message if body.message_type == "text" else None

    async def make() -> SenderQueued:
        message = direct.WhatsApp(str(me.user_id), to, text, limits.whatsapp_template)
        task_id = await direct.send_whatsapp(db, message, most=limits.whatsapps_a_day, now=clock.now())
        outside.signals.wake(db)
        return SenderQueued(data=Queued(message="WhatsApp message queued for delivery", task_id=task_id))

    return await once(body, make, SenderQueued)


def _given(body: GivenMail | GivenWhatsApp, name: str) -> str:
    value: str | None = getattr(body, name)
    if value is None:
        raise _wrong(name, _REQUIRED)
    if not value.strip():
        raise _wrong(name, _BLANK)
    return value


def _wrong(field: str, message: str) -> Invalid:
    return Invalid(errors=[FieldError(field, message)])
