"""The apps as they are built for production, without starting them."""

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

import auth_service.app
import chat_service.app
import notify_service.app


def apps() -> dict[str, FastAPI]:
    """The gateway is not among them: it proxies, and its own pages are public."""
    return {
        "auth": auth_service.app.create_app(auth_service.app.Settings()),
        "chat": chat_service.app.create_app(chat_service.app.Settings()),
        "notify": notify_service.app.create_app(notify_service.app.Settings()),
    }


def routes(app: FastAPI) -> Iterator[RouteContext]:
    return (route for route in iter_route_contexts(app.routes) if route.path and route.methods)
