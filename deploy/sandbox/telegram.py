"""Telegram, as a bot and the people it talks to see it: the Bot API (10.2, https://core.telegram.org/bots/api, read
2026-11), with its refusals and limits, and what people do: start, write, press a button, block."""

import hmac
import re
from collections.abc import Mapping
from typing import Any

import structlog

from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from deploy.sandbox.telegram_chats import Chat, Chats, Refused
from deploy.sandbox.telegram_content import MEDIA, content_of, reaction_of
from deploy.sandbox.telegram_updates import Updates
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "telegram"
USERNAME = "parley_bot"
_BOT = {"id": 1_000_001, "is_bot": True, "first_name": "Parley", "username": USERNAME}
_MOST_FILE_BYTES = 20_000_000
_SOMEBODY = 7_000_001


class Telegram:
    """One bot."""

    def __init__(self, token: str, effects: Effects, clock: Clock) -> None:
        self.faults = Faults()
        self.chats = Chats(clock)
        self.updates = Updates()
        self.token = token
        self._effects = effects
        self._files: dict[str, bytes] = {}
        self._pressed: set[str] = set()

    async def close(self) -> None:
        await self.updates.callbacks.close()

    def admit(self, token: str) -> None:
        """Raises Refused for who is no bot, or not this one."""
        if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token):
            raise Refused(404, "Not Found")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise Refused(401, "Unauthorized")

    async def call(self, method: str, body: Mapping[str, Any]) -> Any:
        """The `result` of a method. Raises Refused."""
        if method == "sendMessage" or method in MEDIA:
            return self._send(method, body)
        if method == "getUpdates":
            return await self.updates.get(body)
        simple = {
            "setMessageReaction": self._react,
            "setWebhook": self.updates.set_webhook,
            "deleteWebhook": self.updates.delete_webhook,
            "getWebhookInfo": lambda _: self.updates.webhook(),
            "getMe": lambda _: _BOT,
            "getFile": self._file,
            "answerCallbackQuery": self._answer,
        }.get(method)
        if simple is None:
            raise Refused(404, "Not Found: method not found")
        return simple(body)

    def _send(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        chat = self.chats.find(body.get("chat_id"))
        content = content_of(method, body, chat)
        self.chats.count(chat)
        sent = chat.add(int(self.chats.clock.seconds()), **{"from": _BOT}, **content)
        shown = {name: value for name, value in content.items() if name != "reply_to_message"}
        data = {"message": sent["message_id"], "method": method, **shown}
        if "reply_to_message" in content:
            data["reply_to"] = content["reply_to_message"]["message_id"]
        self._effects.add(PROVIDER, "delivered", recipients=(str(chat.id),), data=data)
        log.info("telegram_accepted", chat=chat.id, message=sent["message_id"])
        return sent

    def _react(self, body: Mapping[str, Any]) -> bool:
        chat = self.chats.find(body.get("chat_id"))
        message, emoji = reaction_of(body, chat)
        message["reactions"] = emoji
        data = {"message": message["message_id"], "emoji": list(emoji)}
        self._effects.add(PROVIDER, "reacted", recipients=(str(chat.id),), data=data)
        return True

    def _answer(self, body: Mapping[str, Any]) -> bool:
        query = str(body.get("callback_query_id", ""))
        if query not in self._pressed:
            words = "query is too old and response timeout expired or query ID is invalid"
            raise Refused(400, f"Bad Request: {words}")
        self._pressed.discard(query)
        data = {"query": query, "text": str(body.get("text", ""))}
        self._effects.add(PROVIDER, "answered", recipients=(), data=data)
        return True

    def _file(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = self._files.get(str(body.get("file_id", "")))
        if found is None:
            raise Refused(400, "Bad Request: invalid file_id")
        if len(found) > _MOST_FILE_BYTES:
            raise Refused(400, "Bad Request: file is too big")
        name = str(body["file_id"])
        return {"file_id": name, "file_unique_id": name[-8:], "file_size": len(found), "file_path": f"files/{name}"}

    def file(self, path: str) -> bytes | None:
        return self._files.get(path.removeprefix("files/"))

    # What people do.

    def start(self, chat_id: int, name: str, payload: str = "") -> Chat:
        """A person presses Start, perhaps in a link of ours with a payload; a second time, after a block."""
        chat = self.chats.make(chat_id, "private", name)
        self.admit_bot(chat)
        self.write(chat, {"text": f"/start {payload}".strip()})
        return chat

    def write(self, chat: Chat, content: Mapping[str, Any], file: bytes | None = None) -> dict[str, Any]:
        """A message of a person. A file is kept to be fetched, and named in `document`."""
        given = dict(content)
        if file is not None:
            name = f"file-{chat.id}-{chat.last + 1}"
            self._files[name] = file
            given["document"] = {
                "file_id": name,
                "file_unique_id": name[-8:],
                "file_size": len(file),
                **given["document"],
            }
        number = given.pop("reply_to", None)
        answered = chat.message(number) if number else None
        if answered:
            given["reply_to_message"] = answered
        written = chat.add(int(self.chats.clock.seconds()), **{"from": _person(chat)}, **given)
        self.updates.add("message", written)
        return written

    def edit(self, chat: Chat, number: int, text: str) -> None:
        message = chat.message(number)
        if message is not None:
            message |= {"text": text, "edit_date": int(self.chats.clock.seconds())}
            self.updates.add("edited_message", message)

    def press(self, chat: Chat, number: int, data: str) -> str:
        """A button below a message of ours. The id of the query."""
        query = f"{chat.id}{number}{len(self._pressed)}"
        self._pressed.add(query)
        message = chat.message(number)
        given = {"id": query, "from": _person(chat), "message": message, "chat_instance": "1", "data": data}
        self.updates.add("callback_query", given)
        return query

    def shut_out(self, chat: Chat, refusal: str) -> None:
        """The bot is blocked or removed; `refusal` is what it hears from now on."""
        chat.refusal = refusal
        self._member(chat, "member", "kicked")

    def admit_bot(self, chat: Chat) -> None:
        if chat.refusal is not None:
            chat.refusal = None
            self._member(chat, "kicked", "member")

    def migrate(self, chat: Chat) -> Chat:
        moved = self.chats.migrate(chat)
        self.write(chat, {"migrate_to_chat_id": moved.id})
        return moved

    def _member(self, chat: Chat, old: str, new: str) -> None:
        members = {"old_chat_member": {"user": _BOT, "status": old}, "new_chat_member": {"user": _BOT, "status": new}}
        given = {"chat": chat.as_json(), "from": _person(chat), "date": int(self.chats.clock.seconds()), **members}
        self.updates.add("my_chat_member", given)


def _person(chat: Chat) -> dict[str, Any]:
    if chat.kind == "private":
        return {"id": chat.id, "is_bot": False, "first_name": chat.name, "language_code": "en"}
    return {"id": _SOMEBODY, "is_bot": False, "first_name": "Somebody"}
