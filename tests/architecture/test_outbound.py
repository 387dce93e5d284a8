"""Requests to the outside have few doors, each with its guard."""

import ast
from pathlib import Path

from tests.architecture.tree import ROOT, sources

CLIENTS = ("aiohttp", "http.client", "httpx", "httpx2", "requests", "urllib.request", "urllib3")
# Parts of authlib that make requests themselves.
CLIENTS += ("authlib.integrations", "authlib.oauth2.client", "authlib.oidc.discovery")
DOORS = {
    "auth_service/domain/outbound.py": "looks at every address before it goes there: all sign-in providers",
    "auth_service/domain/breaches.py": "one address, named by the operator",
}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return found


def test_auth_asks_others_through_guarded_doors_only() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for path in sources("auth_service")
        if any(f"{name}.".startswith(f"{client}.") for name in imported(path) for client in CLIENTS)
    }
    assert asking == set(DOORS)
