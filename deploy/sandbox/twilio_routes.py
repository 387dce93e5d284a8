"""Twilio's API, what it has done, and what people at the other end do."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox import calling, scripted
from deploy.sandbox.smtp_routes import Listing
from deploy.sandbox.twilio import Refused, Twilio, media_of

_MESSAGES = "/twilio/2010-04-01/Accounts/{account}/Messages"
_DOCS = "https://www.twilio.com/docs/errors/"


class Turn(BaseModel):
    """What becomes of a text."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["queued", "sending", "sent", "delivered", "undelivered", "failed"]
    code: Annotated[int, Field(ge=10_000, le=99_999)] | None = None


class Answer(BaseModel):
    """What somebody writes."""

    model_config = ConfigDict(extra="forbid")

    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
    to: Annotated[str, Field(max_length=40)] = "+12025550100"
    text: Annotated[str, Field(max_length=1600)] = ""
    file: Base64Bytes | None = None
    type: Annotated[str, Field(max_length=100)] = "image/jpeg"
    """Of the file, as the network announces it."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text and self.file is None:
            raise ValueError("an answer has a text or a file")
        return self


class Rules(BaseModel):
    model_config = ConfigDict(extra="forbid")

    arrive: bool
    """Whether texts arrive by themselves."""


async def send_text(request: Request) -> Response:
    """`POST /2010-04-01/Accounts/{sid}/Messages.json`: 201 with the message resource."""
    twilio = twilio_of(request)
    form = {name: str(value) for name, value in (await request.form()).items()}

    async def act() -> Response:
        try:
            twilio.require(request.headers.get("authorization", ""), request.path_params["account"])
            return JSONResponse(twilio.send(form).as_json(), 201)
        except Refused as error:
            return refusal(error.status, str(error.code))

    return await scripted.struck(twilio.faults, form.get("To", ""), act, refusal)


def refusal(status: int, words: str) -> Response:
    """As Twilio says no. `words` are its code, or those of whoever stands before it."""
    if not words.isdigit():
        return Response(words, status)
    headers = {"retry-after": "2"} if status == 429 else None
    body = {"code": int(words), "message": "Refused.", "more_info": f"{_DOCS}{words}", "status": status}
    return JSONResponse(body, status, headers)


async def list_texts(request: Request) -> Response:
    """Newest first; `to` is part of a person's number."""
    listing = Listing.model_validate(dict(request.query_params))
    found = twilio_of(request).newest_first(listing.to)
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def change_text(request: Request) -> Response:
    """Says what becomes of a text, and tells it."""
    turn = Turn.model_validate_json(await request.body())
    text = twilio_of(request).find(request.path_params["sid"])
    if text is None:
        raise HTTPException(404, "There is no such message.")
    twilio_of(request).tell(text, turn.status, turn.code)
    return JSONResponse(text.as_json())


async def create_answer(request: Request) -> Response:
    """Somebody writes."""
    answer = Answer.model_validate_json(await request.body())
    media = [media_of(answer.file, answer.type)] if answer.file is not None else []
    base = str(request.base_url).rstrip("/") + "/twilio"
    text = twilio_of(request).answer(answer.phone, answer.to, answer.text, media, base=base)
    return JSONResponse(text.as_json(), 201)


async def find_media(request: Request) -> Response:
    """307 to where a file lies, for who may know that."""
    twilio, sid = twilio_of(request), request.path_params["media"]

    async def act() -> Response:
        try:
            twilio.require(request.headers.get("authorization", ""), request.path_params["account"])
        except Refused as error:
            return refusal(error.status, str(error.code))
        return RedirectResponse(f"/twilio/media/{sid}") if twilio.media(sid) else refusal(404, "20404")

    return await scripted.struck(twilio.faults, sid, act, refusal)


async def give_media(request: Request) -> Response:
    """The file itself, for whoever knows its place; credentials of the API are not for it."""
    found = twilio_of(request).media(request.path_params["media"])
    if found is None or "authorization" in request.headers:
        raise HTTPException(404 if found is None else 400)
    return Response(found.content, media_type=found.type)


async def change_rules(request: Request) -> Response:
    rules = Rules.model_validate_json(await request.body())
    twilio_of(request).arrive = rules.arrive
    return JSONResponse(rules.model_dump())


def routes() -> Sequence[Route]:
    return [
        Route(f"{_MESSAGES}.json", send_text, methods=["POST"]),
        Route(f"{_MESSAGES}/{{message}}/Media/{{media}}", find_media, methods=["GET"]),
        Route("/twilio/media/{media}", give_media, methods=["GET"]),
        Route("/twilio/messages", list_texts, methods=["GET"]),
        Route("/twilio/messages/{sid}/status", change_text, methods=["POST"]),
        Route("/twilio/answers", create_answer, methods=["POST"]),
        Route("/twilio/rules", change_rules, methods=["PUT"]),
        *scripted.routes("/twilio/faults", lambda request: twilio_of(request).faults),
        *calling.routes("/twilio/callbacks", lambda request: twilio_of(request).callbacks),
    ]


def twilio_of(request: Request) -> Twilio:
    found: Twilio = request.app.state.twilio
    return found
