"""Deny by default: a route without a caller is on a short list, with its reason."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant

from gateway.domain.policy_file import PolicyFile
from gateway.domain.table import Table, Token
from libs import auth
from libs.contracts.callers import CALLERS
from libs.doors import Door
from tests.architecture.apps import apps, routes

PUBLIC = {
    "POST /api/v1/auth/register": "there is no account yet",
    "POST /api/v1/auth/token": "this is where a token comes from",
    "POST /api/v1/auth/token/refresh": "the refresh token is the credential",
    "POST /api/v1/auth/mfa/verify": "the mfa token is the credential",
    "POST /api/v1/auth/mfa/code": "the mfa token is the credential",
    "POST /api/v1/auth/mfa/passkey/options": "the mfa token is the credential",
    "POST /api/v1/auth/passkeys/login/options": "this is where a sign-in begins",
    "POST /api/v1/auth/passkeys/login/verify": "the signature is the credential",
    "POST /api/v1/auth/password/forgot": "who forgot the password has no token",
    "POST /api/v1/auth/password/reset": "the token of the mail is the credential",
    "POST /api/v1/auth/email/verify": "the token of the mail is the credential",
    "POST /api/v1/auth/email/confirm": "the token of the mail is the credential",
    "POST /api/v1/auth/email/undo": "the token of the mail is the credential",
    "POST /api/auth/register/": "there is no account yet",
    "POST /api/auth/register": "there is no account yet",
    "POST /api/users/register/": "there is no account yet",
    "POST /api/users/register": "there is no account yet",
    "POST /api/auth/login/": "this is where a token comes from",
    "POST /api/auth/login": "this is where a token comes from",
    "POST /api/users/login/": "this is where a token comes from",
    "POST /api/users/login": "this is where a token comes from",
    "POST /api/auth/login/facebook/": "the token or code of Facebook is the credential",
    "POST /api/auth/login/facebook": "the token or code of Facebook is the credential",
    "POST /api/auth/token/refresh/": "the refresh token is the credential",
    "POST /api/auth/token/refresh": "the refresh token is the credential",
    "POST /api/auth/refresh/": "the refresh token is the credential",
    "POST /api/auth/refresh": "the refresh token is the credential",
    "POST /api/users/token/refresh/": "the refresh token is the credential",
    "POST /api/users/token/refresh": "the refresh token is the credential",
    "POST /api/auth/logout": "the refresh token is the credential",
    "POST /api/v1/auth/otp/request": "there is no token yet",
    "POST /api/v1/auth/otp/verify": "the code is the credential",
    "POST /api/v1/auth/phone/undo": "the token of the mail is the credential",
    "GET /api/v1/auth/providers": "read before signing in",
    "POST /api/v1/auth/providers/{provider_id}/begin": "there is no token yet",
    "GET /api/v1/auth/providers/{provider_id}/callback": "the browser's cookie is the credential",
    "POST /api/v1/auth/providers/{provider_id}/callback": "posted by a provider's page; only leads on to the other",
    "POST /api/v1/auth/providers/exchange": "the code and the browser's cookie are the credential",
    "POST /api/v1/auth/providers/{provider_id}/token": "the provider's code and its verifier are the credential",
    "POST /api/v1/auth/revoke": "the token is the credential",
    "GET /api/csrf-token": "opens nothing; read before signing in",
    "GET /api/csrf-token/": "the same",
    "GET /.well-known/jwks.json": "public keys",
    "GET /hooks/{provider}/{account}": "asked by providers, whose calls prove themselves",
    "POST /hooks/{provider}/{account}": "told by providers, whose calls prove themselves",
    "GET /u/style.css": "the looks of a page",
    "GET /u/{token}": "the link of the mail is the credential; it changes nothing",
    "POST /u/{token}": "the link of the mail is the credential",
    "GET /health/live": "asked by the platform",
    "GET /health/ready": "asked by the platform",
}
CHECKS = {auth._current_user, auth._calling_service}

APPS = apps()
TABLE = Table(PolicyFile(None).read().routes)
ROUTES = [
    (name, method, route)
    for name, app in APPS.items()
    for route in routes(app)
    for method in sorted((route.methods or set()) - {"HEAD"})
]


def needs(route: Any) -> set[Any]:
    """A door has none: nobody is asked for there."""
    return set() if isinstance(route.original_route, Door) else set(dependencies(route.dependant))


def dependencies(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from dependencies(each)


@pytest.mark.parametrize(("service", "method", "route"), ROUTES, ids=lambda v: getattr(v, "path", v))
def test_every_route_has_a_caller(service: str, method: str, route: Any) -> None:
    if f"{method} {route.path}" in PUBLIC or "openapi.json" in route.path:
        return
    assert CHECKS & needs(route), f"{service}: {method} {route.path} is open to everybody"


def is_async(call: Any) -> bool:
    """A class is not: its instances are made in a thread like anything else that is not async."""
    if not inspect.isfunction(call) and not inspect.isclass(call):
        call = call.__call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


@pytest.mark.parametrize(("service", "method", "route"), ROUTES, ids=lambda v: getattr(v, "path", v))
def test_no_dependency_waits_for_a_thread(service: str, method: str, route: Any) -> None:
    """What is not async runs in a thread of its own, which costs more than all that it does."""
    if "openapi.json" in route.path:
        return
    assert [call for call in needs(route) if call is not None and not is_async(call)] == []


@pytest.mark.parametrize(("service", "method", "route"), ROUTES, ids=lambda v: getattr(v, "path", v))
def test_internal_routes_are_for_services_and_no_others(service: str, method: str, route: Any) -> None:
    if "openapi.json" in route.path:
        return
    for_services = auth._calling_service in needs(route)
    assert for_services == route.path.startswith("/internal/")
    assert for_services == ((service, route.path) in CALLERS)


def test_the_public_list_is_not_longer_than_the_truth() -> None:
    assert {f"{method} {route.path}" for _, method, route in ROUTES} >= PUBLIC.keys()


@pytest.mark.promise("A48")
@pytest.mark.parametrize("route", sorted(PUBLIC))
def test_what_nobody_signs_in_for_is_open_to_an_outdated_cookie(route: str) -> None:
    """A browser sends its cookie with everything: the gateway must not keep it from signing in again."""
    found = TABLE.find(route.split()[1].encode())
    assert found is None or found.token is Token.IGNORED


@pytest.mark.promise("G20")
def test_where_a_user_calls_the_gateway_looks_at_the_token() -> None:
    """Behind it an ended session may pass for as long as the news takes."""
    of_users = {route.path for _, _, route in ROUTES if auth._current_user in needs(route)}
    found = {path: TABLE.find(path.encode()) for path in of_users}
    assert [path for path, route in found.items() if route is None or route.token is Token.IGNORED] == []


@pytest.mark.parametrize("name", APPS)
def test_every_operation_is_described(name: str) -> None:
    for path, operations in APPS[name].openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path} says nothing of itself"
            ok = [status for status in operation["responses"] if status.startswith("2")]
            assert ok, f"{method} {path} has no success"


@pytest.mark.parametrize("name", APPS)
def test_paths_follow_the_conventions(name: str) -> None:
    for path in APPS[name].openapi()["paths"]:
        assert re.fullmatch(r"(/[a-z0-9_.-]+|/\{[a-z_]+_id\}|/\{number\}|/\{seq\}|/\{emoji\}|/\{name\})+/?", path), path
        assert path.startswith(("/api/auth", "/api/users", "/api/chat", "/api/communications")) or path[-1] != "/"


def test_no_two_operations_share_an_id() -> None:
    ids = [
        f"{name}:{operation['operationId']}"
        for name, app in APPS.items()
        for operations in app.openapi()["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))
