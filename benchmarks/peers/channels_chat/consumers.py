import json
import os
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_chat.models import Message


# Messages weigh the same on every side of the comparison; JSON bears blanks at its end.
EVENT_BYTES = int(os.environ["PEER_EVENT_BYTES"])


@database_sync_to_async
def store(conversation: str, content: str, client_msg_id: str) -> Message:
    return Message.objects.create(conversation=conversation, content=content, client_msg_id=client_msg_id)


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.conversation = self.scope["url_route"]["kwargs"]["conversation"]
        self.listens = self.scope["url_route"]["kwargs"]["role"] == "listen"
        if self.listens:
            await self.channel_layer.group_add(self.conversation, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        if self.listens:
            await self.channel_layer.group_discard(self.conversation, self.channel_name)

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        frame = json.loads(text_data)
        message = await store(self.conversation, frame["content"], frame["client_msg_id"])
        event = {
            "type": "message.new",
            "conversation_id": self.conversation,
            "id": message.pk,
            "client_msg_id": frame["client_msg_id"],
            "content": message.content,
            "created_at": message.created_at.isoformat(),
        }
        # Serialised once here, so that the members' consumers only pass the text on.
        text = json.dumps(event).ljust(EVENT_BYTES)
        await self.channel_layer.group_send(self.conversation, {"type": "chat.event", "text": text})
        await self.send(text_data=json.dumps({"i": frame["i"], "ok": {"id": message.pk}}))

    async def chat_event(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])
