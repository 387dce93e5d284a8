"""Pictures on their way in: what is hidden in them goes, and a small one is drawn, in a process of their own."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from chat_service.domain import imaging
from chat_service.errors import invalid
from libs.filetypes import IMAGES

_PROGRAM = Path(imaging.__file__)
# Each may need a few hundred MiB for a moment.
_AT_ONCE = 2
_PATIENCE_SECONDS = 40
THUMBNAIL_TYPE = "image/webp"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Picture:
    content: bytes
    small: bytes
    width: int
    height: int


class Pictures:
    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self.turn = asyncio.Semaphore(_AT_ONCE)
        """Held from reading the picture to storing it, so that few are in memory at a time."""

    async def prepare(self, data: bytes, content_type: str) -> Picture:
        """Raises Invalid for a damaged picture, and for one with more pixels than are decoded here."""
        answer = await self._run(data, IMAGES[content_type])
        line, _, rest = answer.partition(b"\n")
        # An empty answer: the decoder crashed, or wanted more time or memory than it gets.
        facts: dict[str, Any] = json.loads(line) if line else {"refused": "broken"}
        if facts.get("refused") == "pixels":
            raise invalid("file", f"Ensure this picture has no more than {self._max_pixels} pixels.")
        if "refused" in facts or len(rest) != facts["kept"] + facts["small"]:
            raise invalid("file", "This picture is damaged.")
        return Picture(rest[: facts["kept"]], rest[facts["kept"] :], facts["width"], facts["height"])

    async def _run(self, data: bytes, kind: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_PROGRAM), kind, str(self._max_pixels)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # It has no use for our secrets.
            env={},
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer, _ = await process.communicate(data)
        except TimeoutError:
            log.warning("picture_took_too_long", bytes=len(data))
            return b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return answer
