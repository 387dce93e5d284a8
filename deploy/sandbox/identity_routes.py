"""The sign-in providers over HTTP: what clients call, what browsers visit, and what a test may order."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox.identity import (
    CLIENT_ID,
    CLIENT_SECRET,
    TENANT,
    Asked,
    At,
    GrantRefused,
    Identity,
    IdentityFault,
    Person,
    Realm,
)
from deploy.sandbox.markup import Html, document, tag

_OPENID = ("oidc", "google", "microsoft", "apple")
_SHOWN = 50
_HUGE_BYTES = 10 << 20
_SLOW_SECONDS = 30.0
_INSIDE = "http://169.254.169.254/latest/meta-data"
_TITLES = {"oidc": "Sandbox", "github": "GitHub"}

Answer = Callable[[Request, Realm], Awaitable[Response]]


class Chosen(BaseModel):
    visit: str = Field(max_length=100)
    person: str = Field("", max_length=60)


class TokenWanted(BaseModel):
    person: str
    client_id: str = CLIENT_ID


def routes() -> Sequence[Route]:
    own = "/identity/{realm}"
    return [
        Route("/identity", show_people, methods=["GET"]),
        Route("/identity/people", create_person, methods=["POST"]),
        Route("/identity/faults", create_fault, methods=["POST"]),
        Route("/identity/faults", delete_faults, methods=["DELETE"]),
        Route(f"{own}/tokens", create_token, methods=["POST"]),
        Route(f"{own}/.well-known/openid-configuration", _open("discovery", describe), methods=["GET"]),
        Route(f"{own}/{{tenant}}/v2.0/.well-known/openid-configuration", _open("discovery", describe), methods=["GET"]),
        Route(f"{own}/keys", _open("keys", list_keys), methods=["GET"]),
        Route(f"{own}/authorize", _open("authorize", ask_person), methods=["GET"]),
        Route(f"{own}/choose", choose, methods=["GET"]),
        Route(f"{own}/token", _open("token", issue), methods=["POST"]),
        Route(f"{own}/api/oauth/access_token", _open("token", issue), methods=["POST"]),
        Route(f"{own}/api/debug_token", _open("api", inspect_token), methods=["GET"]),
        Route(f"{own}/api/me", _open("me", show_facebook_person), methods=["GET"]),
        Route(f"{own}/api/user", _open("api", show_github_person), methods=["GET"]),
        Route(f"{own}/api/user/emails", _open("api", list_github_emails), methods=["GET"]),
    ]


async def show_people(request: Request) -> Response:
    """Who there is, for developers."""
    people = [tag("li", f"{each.name} ({each.email or 'no e-mail'})") for each in _people(request)]
    how = (
        "Each name of `GET /api/v1/auth/providers` leads here. Post {id, email, email_verified, first_name, last_name}"
        " to /identity/people for another person, and {realm, at, trick} to /identity/faults for trouble."
    )
    return HTMLResponse(
        document("People", _main(tag("h1", "People who can sign in"), tag("p", how), tag("ul", *people)))
    )


async def create_person(request: Request) -> Response:
    """Somebody who can be chosen."""
    person = Person.model_validate_json(await request.body())
    _identity(request).add(person)
    return JSONResponse(person.model_dump(), status_code=201)


async def create_fault(request: Request) -> Response:
    """Script a failure; see `IdentityFault` for the fields."""
    fault = IdentityFault.model_validate_json(await request.body())
    _identity(request).faults.append(fault)
    return JSONResponse(fault.model_dump(), status_code=201)


async def delete_faults(request: Request) -> Response:
    """Behave again."""
    _identity(request).faults.clear()
    return Response(status_code=204)


async def create_token(request: Request) -> Response:
    """An access token as a provider's own script gives it to a page: without a code, for the app that is named."""
    wanted = TokenWanted.model_validate_json(await request.body())
    person = _person(request, wanted.person)
    token = _identity(request).give_token(_realm(request), person, wanted.client_id)
    return JSONResponse({"access_token": token}, status_code=201)


async def describe(request: Request, realm: Realm) -> Response:
    """OpenID Connect Discovery."""
    _require_openid(realm)
    own = f"{_origin(request)}/identity/{realm}"
    trick = _identity(request).take_fault(realm, "discovery", ["another_issuer"])
    issuer = _issuer(request, realm, shown=True)
    return JSONResponse(
        {
            "issuer": f"{issuer}/" if trick else issuer,
            "authorization_endpoint": f"{own}/authorize",
            "token_endpoint": f"{own}/token",
            "jwks_uri": f"{own}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_identity(request).key(realm).alg],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": realm == "oidc",
        }
    )


async def list_keys(request: Request, realm: Realm) -> Response:
    """With what its id_tokens are signed."""
    _require_openid(realm)
    return JSONResponse({"keys": [_identity(request).key(realm).as_dict(private=False)]})


async def ask_person(request: Request, realm: Realm) -> Response:
    """The page where a person says who they are."""
    asked = Asked.model_validate(dict(request.query_params))
    visit = _identity(request).arrive(realm, asked)
    rows = [
        tag("li", tag("a", f"{each.name} ({each.email or 'no e-mail'})", href=_choice(realm, visit, each.id)))
        for each in _people(request)
    ]
    no = tag("p", tag("a", "Do not sign in", href=_choice(realm, visit, "")), class_="links")
    title = f"Sign in with {_TITLES.get(realm, realm.title())}"
    return HTMLResponse(document(title, _main(tag("h1", title), tag("ul", *rows), no)))


async def choose(request: Request) -> Response:
    """Leads the browser back, with a code or an error."""
    chosen = Chosen.model_validate(dict(request.query_params))
    identity = _identity(request)
    found = identity.leave(chosen.visit)
    if found is None:
        raise HTTPException(404, "This visit is over. Begin again where you came from.")
    realm, asked = found
    trick = identity.take_fault(realm, "authorize", ["access_denied", "text_with_markup", "another_issuer"])
    answer = {"state": asked.state}
    if realm == "oidc":
        answer["iss"] = "https://elsewhere.example.com" if trick == "another_issuer" else _issuer(request, realm)
    if trick == "text_with_markup":
        answer |= {"error": "<script>alert(1)</script>", "error_description": "<img src=x onerror=alert(2)>"}
    elif trick == "access_denied" or not chosen.person:
        answer["error"] = "access_denied"
    else:
        person = _person(request, chosen.person)
        answer["code"] = identity.give_code(realm, asked, person)
        if realm == "apple":
            names = {"firstName": person.first_name, "lastName": person.last_name}
            answer["user"] = json.dumps({"name": names})
    return _back(asked, answer)


async def issue(request: Request, realm: Realm) -> Response:
    """Tokens for a code."""
    form = dict(parse_qsl((await request.body()).decode()))
    identity = _identity(request)
    issuer = _issuer(request, realm)
    try:
        issued = identity.redeem(realm, form, issuer=issuer)
    except GrantRefused as refused:
        # GitHub says 200 to everything.
        status = 200 if realm == "github" else 400
        return JSONResponse({"error": str(refused), "error_description": "<b>No.</b>"}, status_code=status)
    answer: dict[str, Any] = {
        "access_token": identity.give_token(realm, issued.person, issued.client_id),
        "token_type": "Bearer",
        "expires_in": 3600,
    }
    if realm in _OPENID:
        answer["id_token"] = identity.id_token(issued, issuer, identity.take_fault(realm, "token"))
    return JSONResponse(answer)


async def inspect_token(request: Request, realm: Realm) -> Response:
    """Facebook's: for which app and whom a token is. Asked with the app's own credentials."""
    if request.headers.get("authorization") != f"Bearer {CLIENT_ID}|{CLIENT_SECRET}":
        return JSONResponse({"error": {"code": 190, "message": "Invalid OAuth access token."}}, status_code=400)
    issued = _identity(request).holder(realm, request.query_params.get("input_token", ""))
    if issued is None:
        return JSONResponse({"data": {"is_valid": False, "error": {"code": 190}}})
    data = {"is_valid": True, "app_id": issued.client_id, "type": "USER", "user_id": str(issued.person.number)}
    return JSONResponse({"data": data})


async def show_facebook_person(request: Request, realm: Realm) -> Response:
    """Facebook's: whom a token is for, with the fields that were asked for."""
    person = _bearer(request, realm)
    known = {
        "id": str(person.number),
        "name": person.name,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "email": person.email,
    }
    wanted = request.query_params.get("fields", "id,name").split(",")
    return JSONResponse({name: value for name, value in known.items() if name in wanted and value})


async def show_github_person(request: Request, realm: Realm) -> Response:
    """GitHub's."""
    person = _bearer(request, realm)
    return JSONResponse({"id": person.number, "login": person.id, "name": person.name, "email": None})


async def list_github_emails(request: Request, realm: Realm) -> Response:
    """GitHub's: one that is not the first, and the first."""
    person = _bearer(request, realm)
    others = [{"email": f"{person.id}@users.noreply.example.com", "verified": True, "primary": False}]
    own = [{"email": person.email, "verified": person.email_verified, "primary": True}] if person.email else []
    return JSONResponse(others + own)


def _open(at: At, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        realm = _realm(request)
        general = ["huge", "nonsense", "redirect", "server_error", "slow"]
        trick = _identity(request).take_fault(realm, at, cast(Any, general))
        if trick == "huge":
            return Response(b'{"a": "' + b"x" * _HUGE_BYTES + b'"}', media_type="application/json")
        if trick == "nonsense":
            return Response(b"<html>It works!", media_type="text/html")
        if trick == "redirect":
            return RedirectResponse(_INSIDE)
        if trick == "server_error":
            return JSONResponse({"error": "<script>alert(3)</script>"}, status_code=500)
        if trick == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        return await answer(request, realm)

    return handle


def _back(asked: Asked, answer: dict[str, str]) -> Response:
    if asked.response_mode == "query":
        joint = "&" if "?" in asked.redirect_uri else "?"
        return RedirectResponse(f"{asked.redirect_uri}{joint}{urlencode(answer)}", status_code=302)
    # A provider's script would press the button.
    fields = [tag("input", type="hidden", name=name, value=value) for name, value in answer.items()]
    form = tag("form", *fields, tag("button", "Continue"), method="post", action=asked.redirect_uri)
    parts = urlsplit(asked.redirect_uri)
    policy = f"default-src 'none'; style-src 'self'; form-action {parts.scheme}://{parts.netloc}; base-uri 'none'"
    return HTMLResponse(document("Continue", _main(form)), headers={"content-security-policy": policy})


def _main(*content: Html) -> Html:
    return tag("main", *content)


def _choice(realm: Realm, visit: str, person: str) -> str:
    return f"/identity/{realm}/choose?{urlencode({'visit': visit, 'person': person})}"


def _identity(request: Request) -> Identity:
    found: Identity = request.app.state.identity
    return found


def _people(request: Request) -> list[Person]:
    return list(reversed(_identity(request).people.values()))[:_SHOWN]


def _person(request: Request, person_id: str) -> Person:
    person = _identity(request).people.get(person_id)
    if person is None:
        raise HTTPException(404, "There is no such person.")
    return person


def _bearer(request: Request, realm: Realm) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    issued = _identity(request).holder(realm, token) if scheme == "Bearer" else None
    if issued is None:
        raise HTTPException(401, "Bad credentials")
    return issued.person


def _realm(request: Request) -> Realm:
    realm = request.path_params["realm"]
    if realm not in get_args(Realm):
        raise HTTPException(404, "There is no such provider.")
    return cast(Realm, realm)


def _require_openid(realm: Realm) -> None:
    if realm not in _OPENID:
        raise HTTPException(404, "This provider does not speak OpenID.")


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _issuer(request: Request, realm: Realm, *, shown: bool = False) -> str:
    """Microsoft has one for each tenant, and shows a pattern."""
    own = f"{_origin(request)}/identity/{realm}"
    tenant = "{tenantid}" if shown else TENANT
    return f"{own}/{tenant}/v2.0" if realm == "microsoft" else own
