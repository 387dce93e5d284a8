"""Existing clients: their calls as they send them, byte by byte."""

from dataclasses import dataclass
from typing import Any

import httpx2

from tests.auth.api import PASSWORD, Api, unique


@dataclass(frozen=True)
class Calls:
    """The paths of one family."""

    register: str
    login: str
    refresh: str
    logout: str
    myself: str
    name: str
    refresh_field: str


SENDER = Calls(
    "/api/auth/register/",
    "/api/auth/login/",
    "/api/auth/token/refresh/",
    "/api/auth/logout/",
    "",
    "email",
    "refresh",
)
HUB = Calls(
    "/api/auth/register",
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/auth/logout",
    "/api/auth/me",
    "email",
    "refreshToken",
)
ROOMS = Calls(
    "/api/users/register/",
    "/api/users/login/",
    "/api/users/token/refresh/",
    "/api/users/logout/",
    "/api/users/profile/",
    "username",
    "refresh",
)
PLATFORM = Calls(
    "/api/v1/auth/register",
    "/api/v1/auth/token/",
    "/api/v1/auth/token/refresh/",
    "/api/v1/auth/logout/",
    "/api/v1/users/me/",
    "email",
    "refresh",
)
FAMILIES = {"sender": SENDER, "hub": HUB, "rooms": ROOMS, "platform": PLATFORM}


@dataclass(frozen=True)
class Person:
    email: str
    username: str
    access: str
    refresh: str


async def register(api: Api, family: Calls, **changed: Any) -> httpx2.Response:
    name = unique()
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    if family is ROOMS:
        body |= {"username": name, "first_name": "Ada", "last_name": "Lovelace"}
    return await api.post(family.register, {k: v for k, v in {**body, **changed}.items() if v is not ...})


async def member(api: Api, family: Calls) -> Person:
    """Somebody who is signed in through this family."""
    name = unique()
    email = f"{name}@example.com"
    names = {"username": name} if family in (ROOMS, PLATFORM) else {}
    answer = await register(api, family, email=email, **names)
    assert answer.status_code == 201, answer.text
    shown = {"email": email, "username": name}
    answer = await api.post(family.login, {family.name: shown[family.name], "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Person(email, body["user"]["username"], body["access"], body["refresh"])
