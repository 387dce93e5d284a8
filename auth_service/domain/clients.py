"""The device at the other end of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """As far as it shows. `device_token` is what it was given when its user signed in on it before."""

    ip: str | None = None
    country: str | None = None
    user_agent: str = ""
    device_token: str | None = None


NOBODY = Client()
"""Of what the command line and the worker do by themselves."""
