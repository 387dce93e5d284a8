"""The endpoints of a customer's program, by any name, and the page of what came to them."""

import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.arrivals import Arrival, page
from deploy.sandbox.smtp_routes import Listing
from deploy.sandbox.webhook import Customer


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    secret: Annotated[str, Field(pattern=r"^whsec_[A-Za-z0-9+/=]{32,100}$")]


async def receive(request: Request) -> Response:
    """204 for what is signed, 401 for what is not."""
    customer, endpoint = customer_of(request), request.path_params["endpoint"]
    raw = await request.body()

    async def act() -> Response:
        return Response(status_code=204 if customer.receive(endpoint, request.headers, raw) else 401)

    return await scripted.struck(customer.faults, endpoint, act, refusal)


def refusal(status: int, words: str) -> Response:
    headers = {"retry-after": "7"} if status in (429, 503) else {"location": "/webhooks/elsewhere"}
    return Response(words, status, headers)


async def change_secret(request: Request) -> Response:
    """The customer has a new secret."""
    change = Change.model_validate_json(await request.body())
    customer_of(request).change_secret(request.path_params["endpoint"], change.secret)
    return Response(status_code=204)


async def list_hooks(request: Request) -> Response:
    """Newest first; `to` is part of an endpoint's name."""
    listing = Listing.model_validate(dict(request.query_params))
    found = customer_of(request).newest_first(listing.to)
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def show_hooks(request: Request) -> Response:
    """What came, and whether it is to be believed."""
    found = [
        Arrival(
            each.endpoint,
            json.dumps(each.body, ensure_ascii=False),
            "repeated" if each.repeated else "signed" if each.verified else "forged",
            each.at,
        )
        for each in customer_of(request).newest_first()
    ]
    return page("Webhooks", found, empty="Nothing yet. What Parley posts to /webhooks/<name> appears here.")


def routes() -> Sequence[Route]:
    return [
        *scripted.routes("/webhooks/faults", lambda request: customer_of(request).faults),
        Route("/webhooks/messages", list_hooks, methods=["GET"]),
        Route("/webhooks", show_hooks, methods=["GET"]),
        Route("/webhooks/{endpoint}", receive, methods=["POST"]),
        Route("/webhooks/{endpoint}/secret", change_secret, methods=["PUT"]),
    ]


def customer_of(request: Request) -> Customer:
    found: Customer = request.app.state.customer
    return found
