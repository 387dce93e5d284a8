"""Pictures of people are addresses, and never fetched by the server: clients show them. So that nobody makes other
people's clients call on a server of theirs, only hosts that the operator names are allowed."""

import re
from collections.abc import Collection

# No user, no port, no escapes of the host, no fragment; what follows the host is printable ASCII.
_URL = re.compile(r"https://([a-z0-9.-]{1,253})/[!$-;=?-Z_a-z~]*")


def allowed(url: str, hosts: Collection[str]) -> bool:
    found = _URL.fullmatch(url)
    return found is not None and found[1] in hosts
