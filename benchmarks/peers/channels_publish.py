"""Send the texts that come on standard input, one a line, to a Channels group at a fixed rate."""

import asyncio
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_chat.settings")

import django  # noqa: E402

django.setup()

from channels.layers import get_channel_layer  # noqa: E402


async def publish(conversation: str, rate: float) -> None:
    layer = get_channel_layer()
    texts = sys.stdin.read().splitlines()
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, text in enumerate(texts):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        await layer.group_send(conversation, {"type": "chat.event", "text": text})


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1], float(sys.argv[2])))
