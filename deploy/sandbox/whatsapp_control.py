"""What a test or a developer may do to WhatsApp: be a person, move the clock, change rules, break things."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox import whatsapp_hooks as hooks
from deploy.sandbox.callbacks import Manners
from deploy.sandbox.clocks import Advance
from deploy.sandbox.faults import Fault
from deploy.sandbox.smtp_routes import Listing
from deploy.sandbox.whatsapp_people import Answer, answer
from deploy.sandbox.whatsapp_routes import whatsapp_of
from deploy.sandbox.whatsapp_rules import Refusal
from deploy.sandbox.whatsapp_state import Business, Number, Person, Template


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NumberChange(Order):
    business: Annotated[str, Field(pattern=r"^[0-9]{1,32}$")] | None = None
    """Where a new number belongs; else to the business that is there from the beginning."""
    per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    quality: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] | None = None
    tier: Literal[250, 2_000, 10_000, 100_000, "unlimited"] | None = None
    callbacks: Manners | None = None


class Notice(Order):
    event: Annotated[str, Field(pattern=r"^[A-Z_]{1,60}$")]
    """As `DISABLED_UPDATE` of a business account, `FLAGGED` of a number."""


class PersonChange(Order):
    name: Annotated[str, Field(max_length=100)] | None = None
    username: Annotated[str, Field(max_length=35)] | None = None
    on_whatsapp: bool | None = None
    blocks: bool | None = None
    wants_marketing: bool | None = None
    fails_with: int | None = None


class TemplateChange(Order):
    business: str | None = None
    status: Literal["APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED"] | None = None
    category: Literal["MARKETING", "UTILITY", "AUTHENTICATION"] | None = None
    parameter_format: Literal["POSITIONAL", "NAMED"] | None = None
    components: list[dict[str, Any]] | None = None


async def list_messages(request: Request) -> Response:
    """Of both sides, newest first; `to` is part of a phone."""
    listing = Listing.model_validate(dict(request.query_params))
    found = [each for each in whatsapp_of(request).chats() if listing.to in each.person.phone]
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def delete_messages(request: Request) -> Response:
    """Forget the messages. The log of effects stays."""
    whatsapp_of(request).clear()
    return Response(status_code=204)


async def create_fault(request: Request) -> Response:
    """Script a failure; see `Fault`. The status and the code are those of `reply`, as in `400 131056`."""
    fault = Fault.model_validate_json(await request.body())
    return JSONResponse(whatsapp_of(request).faults.add(fault).model_dump(), status_code=201)


async def list_faults(request: Request) -> Response:
    """Faults that are not used up, in the order in which they are tried."""
    return JSONResponse({"results": [fault.model_dump() for fault in whatsapp_of(request).faults.pending()]})


async def delete_faults(request: Request) -> Response:
    """Behave again."""
    whatsapp_of(request).faults.clear()
    return Response(status_code=204)


async def move_clock(request: Request) -> Response:
    """Let time pass: windows close, quotas of a day are free again."""
    whatsapp_of(request).clock.advance(Advance.model_validate_json(await request.body()).seconds)
    return Response(status_code=204)


async def change_number(request: Request) -> Response:
    """A number, new where there is none; its limits, and where its business is called back."""
    whatsapp = whatsapp_of(request)
    change = NumberChange.model_validate_json(await request.body())
    business, number = whatsapp.add_number(
        change.business or whatsapp.options.business_id, request.path_params["number"]
    )
    number.per_second = change.per_second or number.per_second
    number.quality = change.quality or number.quality
    if change.tier is not None:
        business.tier = None if change.tier == "unlimited" else change.tier
        business.callbacks.add(hooks.capability(business, whatsapp.clock.seconds()))
    if change.callbacks is not None:
        business.callbacks.manners = change.callbacks
    return JSONResponse({"id": number.id, "business": business.id})


async def tell_account(request: Request) -> Response:
    """The webhook says that something became of the business account."""
    whatsapp = whatsapp_of(request)
    business = whatsapp.businesses.get(request.path_params["business"])
    if business is None:
        raise HTTPException(404, "There is no such business.")
    notice = Notice.model_validate_json(await request.body())
    business.callbacks.add(hooks.account(business, notice.event, whatsapp.clock.seconds()))
    return Response(status_code=204)


async def tell_number(request: Request) -> Response:
    """The webhook says that something became of a number's quality."""
    whatsapp = whatsapp_of(request)
    business, number = whatsapp.number(request.path_params["number"])
    notice = Notice.model_validate_json(await request.body())
    business.callbacks.add(hooks.quality(business, number, notice.event, whatsapp.clock.seconds()))
    return Response(status_code=204)


async def change_person(request: Request) -> Response:
    """Somebody's name, whom they block, and what becomes of messages to them."""
    whatsapp = whatsapp_of(request)
    change = PersonChange.model_validate_json(await request.body())
    person = person_of(request)
    before = person.wants_marketing
    for name in change.model_fields_set:
        setattr(person, name, getattr(change, name))
    if person.wants_marketing is not before:
        for business in whatsapp.businesses.values():
            for number in business.numbers.values():
                business.callbacks.add(hooks.preference(business, number, person, whatsapp.clock.seconds()))
    return JSONResponse({"phone": person.phone, "user_id": person.user_id})


async def write(request: Request) -> Response:
    """Somebody writes to a business, or answers it; see `Answer`."""
    given = Answer.model_validate_json(await request.body())
    _, number = number_of(request)
    try:
        chat = answer(whatsapp_of(request), number, person_of(request), given)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return JSONResponse(chat.as_json(), status_code=201)


async def read(request: Request) -> Response:
    """Somebody looks at what a business wrote."""
    _, number = number_of(request)
    return JSONResponse({"read": whatsapp_of(request).read(number, person_of(request))})


async def change_template(request: Request) -> Response:
    """A template, new where there is none; its business hears of a new status."""
    whatsapp = whatsapp_of(request)
    change = TemplateChange.model_validate_json(await request.body())
    business = whatsapp.businesses[change.business or whatsapp.options.business_id]
    name, language = request.path_params["name"], request.path_params["language"]
    template = business.templates.setdefault((name, language), Template(name, language, []))
    before = template.status
    for each in change.model_fields_set - {"business"}:
        setattr(template, each, getattr(change, each))
    if template.status != before:
        business.callbacks.add(hooks.template_status(business, template, whatsapp.clock.seconds()))
    return JSONResponse(template.as_json())


def routes() -> Sequence[Route]:
    person = "/whatsapp/people/{phone}"
    return [
        Route("/whatsapp/messages", list_messages, methods=["GET"]),
        Route("/whatsapp/messages", delete_messages, methods=["DELETE"]),
        Route("/whatsapp/faults", create_fault, methods=["POST"]),
        Route("/whatsapp/faults", list_faults, methods=["GET"]),
        Route("/whatsapp/faults", delete_faults, methods=["DELETE"]),
        Route("/whatsapp/clock", move_clock, methods=["POST"]),
        Route("/whatsapp/numbers/{number}", change_number, methods=["PUT"]),
        Route("/whatsapp/numbers/{number}/notices", tell_number, methods=["POST"]),
        Route("/whatsapp/businesses/{business}/notices", tell_account, methods=["POST"]),
        Route(person, change_person, methods=["PUT"]),
        Route(f"{person}/messages", write, methods=["POST"]),
        Route(f"{person}/read", read, methods=["POST"]),
        Route("/whatsapp/templates/{name}/{language}", change_template, methods=["PUT"]),
    ]


def person_of(request: Request) -> Person:
    phone = request.path_params["phone"]
    if not phone.removeprefix("+").isdigit():
        raise HTTPException(404, "A phone is digits, with its country.")
    return whatsapp_of(request).person("+" + phone.removeprefix("+"))


def number_of(request: Request) -> tuple[Business, Number]:
    """The one of `?number=`, or that which is there from the beginning."""
    whatsapp = whatsapp_of(request)
    try:
        return whatsapp.number(request.query_params.get("number", whatsapp.options.number_id))
    except Refusal as refusal:
        raise HTTPException(404, str(refusal)) from None
