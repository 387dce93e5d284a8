"""`python -m deploy.local.listen <ws://.../ws> <token> [conversation ...]`: prints what a user's socket receives."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol


async def listen(url: str, token: str, *conversations: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(url, subprotocols=[Subprotocol("chat.v1")], additional_headers=headers) as socket:
        await socket.send(json.dumps({"i": 1, "op": "hello", "d": {"v": 1}}))
        if conversations:
            streams = {f"c:{conversation}": None for conversation in conversations}
            await socket.send(json.dumps({"i": 2, "op": "sub", "d": {"streams": streams}}))
        async for frame in socket:
            print(frame if isinstance(frame, str) else frame.decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(listen(*sys.argv[1:]))
