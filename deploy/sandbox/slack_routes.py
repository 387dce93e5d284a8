"""Slack's webhook, and what shall happen to its channel."""

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import AfterValidator, BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.clocks import Advance
from deploy.sandbox.slack import STATUSES, Refused, Slack


def _known(word: str) -> str:
    if word not in STATUSES:
        raise ValueError(f"one of {', '.join(STATUSES)}")
    return word


class Standing(BaseModel):
    """What has happened to the channel or the app; none: all is well."""

    model_config = ConfigDict(extra="forbid")

    refusal: Annotated[str, AfterValidator(_known)] | None = None


async def post_message(request: Request) -> Response:
    """`/services/T.../B.../...` with a JSON body, or with one in the form's `payload`."""
    slack = slack_of(request)
    raw = await request.body()

    async def act() -> Response:
        try:
            slack.admit(request.path_params["webhook"])
            slack.post(_payload(raw))
        except Refused as refusal:
            return _refuse(refusal)
        return PlainTextResponse("ok")

    return await scripted.struck(slack.faults, "default", act, lambda status, words: _refuse(Refused(status, words)))


async def set_standing(request: Request) -> Response:
    """See `Standing`."""
    slack_of(request).refusal = Standing.model_validate_json(await request.body()).refusal
    return Response(status_code=204)


async def advance_clock(request: Request) -> Response:
    """The limit believes that so many seconds have passed."""
    slack_of(request).clock.advance(Advance.model_validate_json(await request.body()).seconds)
    return Response(status_code=204)


def routes() -> Sequence[Route]:
    return [
        Route("/slack/services/{webhook:path}", post_message, methods=["POST"]),
        Route("/slack/standing", set_standing, methods=["PUT"]),
        Route("/slack/clock", advance_clock, methods=["POST"]),
        *scripted.routes("/slack/faults", lambda request: slack_of(request).faults),
    ]


def slack_of(request: Request) -> Slack:
    found: Slack = request.app.state.slack
    return found


def _payload(raw: bytes) -> Any:
    try:
        text = raw.decode()
        return json.loads(parse_qs(text)["payload"][0] if text.startswith("payload=") else text)
    except (ValueError, KeyError):
        raise Refused(400, "invalid_payload") from None


def _refuse(refusal: Refused) -> Response:
    headers = {} if refusal.pause is None else {"Retry-After": str(refusal.pause)}
    return PlainTextResponse(refusal.word, refusal.status, headers)
