"""Asking each process of a service now and then whether it lives, before a client finds out that it does not."""

import asyncio
from collections.abc import Iterable

from gateway.domain.upstreams import Group, Instance
from gateway.domain.wire import Malformed, status_line
from libs.tasks import every

_TIMEOUT_SECONDS = 1.0
_QUESTION = b"GET /health/live HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n"


async def probe(groups: Iterable[Group], seconds: float) -> None:
    """For ever, all of them together, with `seconds` between."""
    # Where sockets have no processes of their own, two groups ask the same one.
    instances: dict[str, list[Instance]] = {}
    for group in groups:
        for instance in group.instances:
            instances.setdefault(instance.authority, []).append(instance)

    async def once() -> None:
        await asyncio.gather(*map(_look_at, instances.values()))

    await every(seconds, once)


async def _look_at(instances: list[Instance]) -> None:
    """All of one address."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            alive = await _ask(instances[0])
    except (OSError, TimeoutError, ValueError, Malformed):
        alive = False
    for instance in instances:
        instance.probed(alive=alive)


async def _ask(instance: Instance) -> bool:
    """On a connection of its own: one that is kept says little about whether new ones are taken."""
    reader, writer = await asyncio.open_connection(instance.host, instance.port)
    try:
        writer.write(_QUESTION % instance.authority.encode())
        return status_line(await reader.readline()).status == 200
    finally:
        writer.transport.abort()
