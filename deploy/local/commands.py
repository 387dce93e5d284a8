"""The commands beside `up`. Each gives its exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.binaries import CHECKOUT
from deploy.local.environment import DATABASES
from deploy.local.errors import StateInUse
from deploy.local.stack import Stack
from deploy.local.state import State

# Each has ports of its own (tests/conftest.py).
_MOST_PROCESSES = 4


def test(arguments: Sequence[str]) -> int:
    """All tests, on all cores, with the threshold of coverage; with arguments only pytest, which gets them."""
    if arguments:
        return asyncio.run(_python("-m", "pytest", *arguments))
    # One more than there are cores: a third of the time a test waits for somebody.
    count = min(_MOST_PROCESSES, len(os.sched_getaffinity(0)) + 1)
    everything = ["run", "-m", "pytest", f"--numprocesses={count}", "--dist=loadscope"]
    for part in (["erase"], everything, ["combine", "--quiet"], ["report"]):
        code = asyncio.run(_python("-m", "coverage", *part))
        if code:
            return code
    return 0


def bench(arguments: Sequence[str]) -> int:
    return asyncio.run(_python("-m", "benchmarks", *arguments))


def service(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """A command of a service, beside the stack that runs; where none runs, on servers started for the moment."""
    module = name if name == "gateway" else f"{name}_service"

    async def run() -> int:
        async with _environments(environ) as env:
            return await _python("-m", module, *arguments, env=env(name))

    return asyncio.run(run())


def migrate(environ: Mapping[str, str]) -> int:
    async def run() -> int:
        async with _environments(environ) as env:
            for name in DATABASES:
                code = await _python("-m", f"{name}_service", "migrate", env=env(name))
                if code:
                    return code
        return 0

    return asyncio.run(run())


def talk(url: str | None) -> int:
    from deploy.local.talk import talk as run

    running = State.of_checkout().told() or {}
    return asyncio.run(run(url or running.get("url") or "http://127.0.0.1:8000"))


def geo(file: Path | None) -> int:
    from deploy.local.geo import make

    state = State.of_checkout()
    if file is None:
        state.make()
    target = file or state.countries
    print("Fetching Debian's tor-geoipdb and writing a database; this takes a minute or two.")
    source = make(target)
    print(f"Wrote {target}")
    print(f"Data of {source.made:%d %B %Y} by {source.vendor}, {source.license}: name them where you pass it on.")
    if file is not None:
        print(f"GATEWAY_COUNTRY_DATABASE={target.absolute()}")
    return 0


def restart(names: Sequence[str]) -> int:
    """Of the stack that runs; no request fails meanwhile."""
    from deploy.local.control import ask

    running = State.of_checkout().told()
    if running is None:
        print("Parley does not run. (./parley up)", file=sys.stderr)
        return 1
    asyncio.run(ask(running["control"], names, print))
    return 0


def clean(*, sure: bool) -> int:
    state = State.of_checkout()
    if state.in_use:
        raise StateInUse(f"Parley runs on {state.folder}. Stop it first (Ctrl-C in its terminal).")
    if not state.folder.exists():
        print("There is nothing to remove.")
        return 0
    if not sure:
        try:
            answer = input(f"Remove all data, keys and logs in {state.folder}? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("Nothing was removed. (--yes answers the question.)")
            return 1
    state.remove()
    print(f"Removed {state.folder}")
    return 0


@asynccontextmanager
async def _environments(environ: Mapping[str, str]) -> AsyncIterator[Callable[[str], dict[str, str]]]:
    state = State.of_checkout()
    running = state.told()
    if running is not None:
        yield lambda name: {**environ, **running["env"][name]}
        return
    async with state.held() as lock:
        stack = Stack(folder=state.folder, environ=environ, keep_open=(lock,))
        try:
            await stack.start_servers()
            yield stack.env
        finally:
            await stack.stop()


async def _python(*arguments: str, env: Mapping[str, str] | None = None) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=CHECKOUT, env=env)
    loop = asyncio.get_running_loop()
    # A Ctrl-C reaches it through the terminal; it answers, and we wait for that.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, process.terminate)
    code = await process.wait()
    return code if code >= 0 else 128 - code
