"""The device at the other end of a request."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """As far as it shows. `device_token` is what it was given when its user signed in on it before, `solution`
    its answer to a challenge."""

    ip: str | None = None
    country: str | None = None
    user_agent: str = ""
    device_token: str | None = None
    solution: str | None = None

    @property
    def network(self) -> str:
        """Whom failures are counted for: an address of IPv4, or the /64 that one household of IPv6 has."""
        return _network(self.ip, 32, 64) or "unknown"

    @property
    def surroundings(self) -> str | None:
        """The network around it, in which somebody moves without being somewhere else."""
        return _network(self.ip, 24, 48)


def _network(ip: str | None, v4: int, v6: int) -> str | None:
    if ip is None:
        return None
    prefix = v4 if ipaddress.ip_address(ip).version == 4 else v6
    return str(ipaddress.ip_network(f"{ip}/{prefix}", strict=False))


NOBODY = Client()
"""Of what the command line and the worker do by themselves."""
