"""How `./parley restart` reaches the `./parley up` that runs: a socket in a folder that is for nobody else."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.errors import LocalError
from deploy.local.stack import Stack

_DONE = "done"


@asynccontextmanager
async def controlled(stack: Stack, report: Callable[[str], None]) -> AsyncIterator[str]:
    """Takes orders while the block runs. Gives the path of the socket."""
    turn = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            report(text)
            writer.write(text.encode() + b"\n")

        with contextlib.suppress(ConnectionError):
            order = json.loads(await reader.readline() or b"[]")
            async with turn:
                writer.write((await _renew(stack, order, say)).encode() + b"\n")
            await writer.drain()
        writer.close()

    # Not in the state folder: the path of a socket has a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        path = str(Path(folder) / "control")
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield path
        finally:
            server.close()


async def _renew(stack: Stack, wanted: Sequence[str], say: Callable[[str], None]) -> str:
    """One after the other, each when the one before is there: somebody always answers."""
    if unknown := [name for name in wanted if name not in stack.names()]:
        return f"There is no process {', '.join(unknown)}. There are: {', '.join(stack.names())}."
    for name in wanted or stack.processes:
        try:
            await stack.renew(name)
        except LocalError as error:
            return str(error)
        say(f"{name} runs anew")
    return _DONE


async def ask(path: str, wanted: Sequence[str], say: Callable[[str], None]) -> None:
    """Restarts these processes, or all but the servers. Raises LocalError with the reason where that fails."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise LocalError(f"Parley does not take orders: {error}") from error
    writer.write(json.dumps(list(wanted)).encode() + b"\n")
    last = ""
    while line := await reader.readline():
        if last:
            say(last)
        last = line.decode().rstrip("\n")
    writer.close()
    if last != _DONE:
        raise LocalError(last or "Parley has ended.")
