"""A client of Parley's chat in Python: what the tests, `./parley talk` and programs use.

    async with Chat("https://chat.example.com", token) as chat:
        conversation = await chat.follow(conversation_id)
        chat.on_change = lambda stream, kind, data: print(kind, data)
        await chat.send(conversation_id, "Hello")
        print(conversation.copy.messages)

`Chat` stays: it comes back when the socket ends, on any server, and misses nothing. `ChatClient` is one socket, for who
wants to do that alone. It needs `websockets` and `httpx2`, and nothing else of Parley.
"""

from parley_client.api import Api, ApiError
from parley_client.chat import Chat, Conversation
from parley_client.local_copy import LocalCopy
from parley_client.sockets import ChatClient, Closed, Frame, Position, Refused, chatting

__all__ = [
    "Api",
    "ApiError",
    "Chat",
    "ChatClient",
    "Closed",
    "Conversation",
    "Frame",
    "LocalCopy",
    "Position",
    "Refused",
    "chatting",
]
