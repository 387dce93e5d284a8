"""A real browser, told what to do over its own protocol: open, read, press, tick."""

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = ("background-networking", "component-update", "sync", "extensions", "gpu", "dev-shm-usage", "quic")
_PATIENCE_SECONDS = 60.0
# What is inside an element of a page, as its reader sees it.
_FIND = "[...document.querySelectorAll({kind})].find(each => each.innerText.trim() === {words})"


def need_browser() -> None:
    if BROWSER is None:
        assert not os.environ.get("PARLEY_TEST_BROWSER"), "PARLEY_TEST_BROWSER is set, and there is no Chromium"
        pytest.skip("needs Chromium on the PATH (Debian: apt install chromium)")


class Tab:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._events: set[str] = set()
        self.status = 0
        """Of the page that is shown."""
        self.refused: list[str] = []
        """What the page wanted and its policy has not let it have."""

    async def language(self, tags: str) -> None:
        await self._ask("Network.setExtraHTTPHeaders", headers={"Accept-Language": tags})

    async def open(self, url: str) -> None:
        """Returns once the page is there, with all that it loads."""
        self._events.clear()
        await self._ask("Page.navigate", url=url)
        await self._until("Page.loadEventFired")

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def document(self) -> str:
        """As the page's scripts have left it."""
        return str(await self.run("document.documentElement.outerHTML"))

    async def run(self, script: str) -> Any:
        answer = await self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, words: str, kind: str = "button") -> None:
        """A button with these words that leads to another page; returns once that is there."""
        self._events.clear()
        await self.run(_FIND.format(kind=json.dumps(kind), words=json.dumps(words)) + ".click()")
        await self._until("Page.loadEventFired")

    async def tick(self, words: str) -> None:
        """The box with these words, or not any more."""
        await self.run(_FIND.format(kind="'label'", words=json.dumps(words)) + ".click()")

    async def boxes(self) -> dict[str, bool]:
        """Those of the page that can be changed, by their words."""
        script = "[...document.querySelectorAll('label')].filter(each => !each.querySelector('input').disabled)"
        found = await self.run(script + ".map(each => [each.innerText.trim(), each.querySelector('input').checked])")
        return dict(found)

    async def begin(self) -> None:
        for each in ("Page", "Network", "Runtime", "Log"):
            await self._ask(f"{each}.enable")

    async def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                found = await self._hear()
                if found.get("id") == number:
                    assert "result" in found, found
                    return found["result"]

    async def _until(self, event: str) -> None:
        """It may have been heard while an answer was waited for."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while event not in self._events:
                await self._hear()

    async def _hear(self) -> Any:
        found = json.loads(await self._socket.recv())
        about = found.get("params", {})
        self._events.add(found.get("method", ""))
        if found.get("method") == "Network.responseReceived" and about["type"] == "Document":
            self.status = about["response"]["status"]
        if found.get("method") == "Log.entryAdded" and about["entry"]["source"] == "security":
            self.refused.append(about["entry"]["text"])
        return found


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Tab]:
    """`folder` is where the browser keeps its things; a new one for each."""
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        *(f"--disable-{each}" for each in _QUIET),
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not (port := _port(folder / "DevToolsActivePort")):
                await asyncio.sleep(0.05)
        async with connect(f"ws://127.0.0.1:{port[0]}{port[1]}", max_size=None) as whole:
            tab = await _first_tab(whole)
        async with connect(f"ws://127.0.0.1:{port[0]}/devtools/page/{tab}", max_size=None) as socket:
            found = Tab(socket)
            await found.begin()
            yield found
    finally:
        process.terminate()
        await process.wait()


def _port(file: Path) -> list[str]:
    lines = file.read_text().split() if file.exists() else []
    return lines if len(lines) == 2 else []


async def _first_tab(socket: ClientConnection) -> str:
    await socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
    targets = json.loads(await socket.recv())["result"]["targetInfos"]
    return str(next(each["targetId"] for each in targets if each["type"] == "page"))
