"""`./parley up`: everything, until Ctrl-C."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping

from deploy.local import ports
from deploy.local.control import controlled
from deploy.local.errors import LocalError
from deploy.local.logs import Follower, Painter
from deploy.local.stack import Stack
from deploy.local.state import State
from deploy.local.welcome import welcome

_LOOK_SECONDS = 0.5
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0


def up(environ: Mapping[str, str], port: int) -> None:
    asyncio.run(_until_stopped(environ, port))


async def _until_stopped(environ: Mapping[str, str], port: int) -> None:
    task = asyncio.ensure_future(_run(environ, port))
    loop = asyncio.get_running_loop()
    stop = _cancel_once(task)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` asks not to end with the terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        _say("Everything is stopped. Data stays until ./parley clean")


def _cancel_once(task: "asyncio.Future[None]") -> Callable[[], None]:
    # An impatient second Ctrl-C must not interrupt the stopping: it would leave nothing running, but cut off commits.
    cancelled = False

    def cancel() -> None:
        nonlocal cancelled
        if not cancelled:
            cancelled = True
            _say("Stopping ...")
            task.cancel()

    return cancel


async def _run(environ: Mapping[str, str], port: int) -> None:
    began = time.monotonic()
    state = State.of_checkout()
    async with state.held() as lock:
        # Before anything is started: a taken port costs nothing but the message.
        ports.require(port)
        stack = Stack(
            folder=state.folder,
            gateway_port=port,
            fixed_ports=True,
            seed=True,
            environ=environ,
            keep_open=(lock,),
            report=_say,
        )
        async with stack, controlled(stack, _say) as control:
            env = {name: _added(environ, stack.env(name)) for name in stack.processes}
            state.tell({"url": stack.url, "env": env, "control": control})
            _say(welcome(stack.url, stack.mailbox_url, seconds=time.monotonic() - began))
            painter = Painter(sorted(path.stem for path in state.logs.glob("*.log")))
            follower = Follower(state.logs, None, painter.write)
            async with asyncio.TaskGroup() as group:
                group.create_task(follower.run())
                for name in stack.names():
                    group.create_task(_keep_running(stack, name))


async def _keep_running(stack: Stack, name: str) -> None:
    """Starts what ended without being asked to, later and later while it goes on ending."""
    pause, since = 0.5, time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if stack.is_running(name):
            continue
        steady = time.monotonic() - since > _STEADY_SECONDS
        pause = 1.0 if steady else min(pause * 2, _LONGEST_PAUSE)
        _say(f"{name} ended; starting it again in {pause:.0f} s (./parley logs {name})")
        await asyncio.sleep(pause)
        since = time.monotonic()
        try:
            await stack.restart(name)
            _say(f"{name} runs again")
        except LocalError as error:
            _say(str(error))


def _added(environ: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if environ.get(name) != value}


def _say(text: str) -> None:
    print(text, flush=True)
