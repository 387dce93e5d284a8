"""SNS over HTTP: its certificate and the confirming of subscriptions; and what SES shall tell of which mail."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox.callbacks import Manners
from deploy.sandbox.smtp_routes import message, postbox
from deploy.sandbox.sns import PEM, TOPIC, Sns
from libs.clock import rfc3339


class Subscription(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^https?://\S{1,500}$")


class Told(BaseModel):
    """What SES says of a mail that it has taken."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["Delivery", "Bounce", "Complaint"] = "Delivery"
    permanent: bool = True
    status: str = Field("5.1.1", pattern=r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}$")


async def get_certificate(request: Request) -> Response:
    found = sns(request)
    found.fetched += 1
    return Response(found.certificate, media_type="application/x-pem-file")


async def confirm(request: Request) -> Response:
    """`?Action=ConfirmSubscription&Token=...`"""
    return Response(status_code=200 if sns(request).confirm(dict(request.query_params)) else 400)


async def subscribe(request: Request) -> Response:
    """See `Subscription`."""
    wanted = Subscription.model_validate_json(await request.body())
    sns(request).subscribe(wanted.url, f"{str(request.base_url).rstrip('/')}/sns")
    return JSONResponse({"topic": TOPIC}, 201)


async def tell(request: Request) -> Response:
    """See `Told`."""
    if not sns(request).confirmed:
        raise HTTPException(409, "Nobody has confirmed to listen.")
    said, mail = Told.model_validate_json(await request.body() or b"{}"), message(request)
    at = {"timestamp": rfc3339(postbox(request).clock.now())}
    people = list(mail.envelope.recipients)
    named = [{"emailAddress": each, "status": said.status, "diagnosticCode": "smtp; 550"} for each in people]
    kinds: dict[str, dict[str, Any]] = {
        "Delivery": {"recipients": people},
        "Bounce": {
            "bounceType": "Permanent" if said.permanent else "Transient",
            "bounceSubType": "General",
            "bouncedRecipients": named,
        },
        "Complaint": {"complainedRecipients": [{"emailAddress": each} for each in people]},
    }
    headers = [{"name": name, "value": value} for name, value in mail.headers]
    about = {"messageId": mail.id, "destination": people, "headers": headers}
    sns(request).publish({"notificationType": said.kind, "mail": about, said.kind.lower(): {**at, **kinds[said.kind]}})
    return Response(status_code=204)


async def set_manners(request: Request) -> Response:
    """How the subscriber is called; see `Manners`. Whom is for `subscribe` to say; each call tells one thing."""
    callbacks = sns(request).callbacks
    given = Manners.model_validate_json(await request.body())
    callbacks.manners = given.model_copy(update={"url": callbacks.manners.url, "batch": 1})
    return Response(status_code=204)


def routes() -> Sequence[Route]:
    return [
        Route(f"/sns/{PEM}", get_certificate, methods=["GET"]),
        Route("/sns/", confirm, methods=["GET"]),
        Route("/sns/subscription", subscribe, methods=["POST"]),
        Route("/sns/callbacks", set_manners, methods=["PUT"]),
        Route("/sns/messages/{id}", tell, methods=["POST"]),
    ]


def sns(request: Request) -> Sns:
    found: Sns = request.app.state.sns
    return found
