"""`./parley talk`: chatting from a terminal, beside a stack that runs."""

import asyncio
import contextlib
import getpass
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx2

from parley_client import Api, ApiError, Chat, Refused

try:
    import readline
except ImportError:  # pragma: no cover - a Python without it edits lines less well
    readline = None  # type: ignore[assignment]

_HELP = """\
  /list            conversations
  /open 2          go on in the second of the list
  /to grace        a conversation with somebody, by username
  /who             who is in this one
  /quit            or Ctrl-D
anything else is sent."""
_SHOWN = 10
_TYPING_SECONDS = 2.0


class Account:
    """Tokens of who talks: renewed when they run out."""

    def __init__(self, url: str) -> None:
        self._api = Api(url)
        self._tokens: dict[str, Any] = {}
        self._lock = asyncio.Lock()

    async def sign_in(self, login: str, password: str) -> None:
        field = "email" if "@" in login else "username"
        self._tokens = await self._api.call("POST", "/api/v1/auth/token", {field: login, "password": password})

    async def register(self, email: str, username: str, password: str) -> None:
        body = {"email": email, "username": username, "password": password}
        self._tokens = await self._api.call("POST", "/api/v1/auth/register", body)

    async def token(self, fresh: bool) -> str:  # noqa: FBT001  -- as the client calls it
        async with self._lock:
            if fresh:
                body = {"refresh": self._tokens["refresh"]}
                self._tokens |= await self._api.call("POST", "/api/v1/auth/token/refresh", body)
            return str(self._tokens["access"])

    async def close(self) -> None:
        await self._api.close()


class Keyboard:
    """Lines typed, read by a thread of their own: the event loop goes on, and Ctrl-C ends the program at once."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdin.isatty()
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._prompts: list[str] = []
        self._wanted = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    async def line(self, prompt: str = "") -> str | None:
        """None at the end of the input."""
        self._prompts.append(prompt)
        self._wanted.release()
        return await self._lines.get()

    async def secret(self, prompt: str) -> str | None:
        if not self.is_terminal:
            return await self.line(prompt)
        return await asyncio.to_thread(getpass.getpass, prompt)

    def written(self) -> str:
        """What stands in the line that is being typed."""
        return readline.get_line_buffer() if readline is not None and self.is_terminal else ""

    def show(self, text: str) -> None:
        """Prints above the line that is being typed, and writes that again."""
        if not self.is_terminal or not self._prompts:
            print(text, flush=True)
            return
        print(f"\r\033[K{text}\n{self._prompts[-1]}{self.written()}", end="", flush=True)

    def _read(self) -> None:
        while True:
            self._wanted.acquire()
            try:
                line: str | None = input(self._prompts[-1] if self.is_terminal else "")
            except (EOFError, UnicodeDecodeError):
                line = None
            with contextlib.suppress(RuntimeError):  # the program has ended meanwhile
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class Talk:
    def __init__(self, chat: Chat, keyboard: Keyboard) -> None:
        self._chat = chat
        self._keyboard = keyboard
        self._listed: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._typing_at: dict[str, float] = {}
        self._commands: dict[str, Callable[[str], Any]] = {
            "/list": self._list,
            "/open": self._choose,
            "/to": self._to,
            "/who": self._who,
            "/help": self._help,
        }
        chat.on_change = self._changed

    async def run(self) -> None:
        await self._list("")
        self._keyboard.show("/help says what can be typed.")
        noticing = asyncio.create_task(self._notice_typing())
        try:
            while (line := await self._keyboard.line(self._prompt())) is not None and line.strip() != "/quit":
                try:
                    await self._do(line)
                except (ApiError, Refused, httpx2.HTTPError) as error:
                    self._keyboard.show(f"! {error}")
        finally:
            noticing.cancel()

    async def _do(self, line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if command in self._commands:
            await self._commands[command](rest.strip())
        elif command.startswith("/"):
            self._keyboard.show(f"! {command} is no command; /help lists them")
        elif command and self._open is None:
            self._keyboard.show("! first /open a conversation, or begin one with /to NAME")
        elif command and self._open is not None:
            await self._chat.send(self._open["id"], line)

    async def _list(self, _rest: str) -> None:
        page = await self._chat.api.call("GET", "/api/v1/conversations", limit=20)
        self._listed = page["results"]
        for number, one in enumerate(self._listed, 1):
            last = one["last_message"]
            said = f"  {_name(last['sender'])}: {_one_line(last['content'])}" if last else ""
            self._keyboard.show(f"{number:3} {self._title(one)} ({one['unread_count']} unread){said}")
        if not self._listed:
            self._keyboard.show("No conversations yet. /to NAME begins one.")

    async def _choose(self, rest: str) -> None:
        if not rest.isdigit() or not 1 <= int(rest) <= len(self._listed):
            self._keyboard.show("! /open takes a number of the list")
            return
        await self._go(self._listed[int(rest) - 1])

    async def _to(self, name: str) -> None:
        found = await self._chat.api.call("POST", "/api/v1/users/search", {"query": name})
        matching = [user for user in found["results"] if user["username"] == name] or found["results"][:1]
        if not name or not matching:
            self._keyboard.show(f"! nobody of the name {name}")
            return
        body = {"conversation_type": "direct", "participants": [matching[0]["id"]]}
        await self._go(await self._chat.api.call("POST", "/api/v1/conversations", body))

    async def _go(self, conversation: dict[str, Any]) -> None:
        key = f"c:{conversation['id']}"
        followed = self._chat.conversations.get(key) or await self._chat.follow(conversation["id"])
        self._open = conversation
        self._keyboard.show(f"--- {self._title(conversation)}")
        for message in reversed(followed.copy.newest[:_SHOWN] if followed.copy else []):
            self._keyboard.show(_line(message))

    async def _who(self, _rest: str) -> None:
        for person in (self._open or {}).get("participants", ()):
            self._keyboard.show(f"  {_name(person)} ({person['role']})")

    async def _help(self, _rest: str) -> None:
        self._keyboard.show(_HELP)

    def _changed(self, stream: str, kind: str, data: Any) -> None:
        here = self._open is not None and stream == f"c:{self._open['id']}"
        if kind == "message.new":
            self._keyboard.show(_line(data) if here else f"({_line(data)})")
        elif kind == "message.edited" and here:
            self._keyboard.show(f"{_line(data)} (edited)")
        elif kind == "message.deleted" and here:
            self._keyboard.show(f"(message {data['seq']} was deleted)")
        elif kind == "typing" and here and data["on"] and data["user_id"] != self._chat.user_id:
            self._show_typing(data["user_id"])
        elif kind == "conversation.joined":
            self._keyboard.show("(a new conversation: /list)")

    def _show_typing(self, user_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._typing_at.get(user_id, -10.0) > 6:
            self._keyboard.show("(typing ...)")
        self._typing_at[user_id] = now

    async def _notice_typing(self) -> None:
        before = ""
        while True:
            await asyncio.sleep(_TYPING_SECONDS)
            written = self._keyboard.written()
            if self._open is not None and written and written != before and not written.startswith("/"):
                await self._chat.say("typing", f"c:{self._open['id']}", {"on": True})
            before = written

    def _title(self, conversation: dict[str, Any]) -> str:
        others = [p for p in conversation["participants"] if p["id"] != self._chat.user_id]
        return conversation["name"] or ", ".join(_name(person) for person in others) or "oneself"

    def _prompt(self) -> str:
        return f"{self._title(self._open)}> " if self._open else "> "


async def talk(url: str) -> int:
    keyboard = Keyboard()
    account = Account(url)
    try:
        if not await _enter(account, keyboard):
            return 1
        async with Chat(url, account.token) as chat:
            await chat.connected()
            keyboard.show("connected")
            await Talk(chat, keyboard).run()
    except (httpx2.TransportError, OSError) as error:
        print(f"parley: {url} does not answer ({type(error).__name__}). Is ./parley up running?", file=sys.stderr)
        return 1
    else:
        return 0
    finally:
        await account.close()


async def _enter(account: Account, keyboard: Keyboard) -> bool:
    """Signs in, or registers who has no account. False at the end of the input."""
    while (login := await keyboard.line("username or e-mail (empty: register): ")) is not None:
        try:
            if login.strip():
                await account.sign_in(login.strip(), await keyboard.secret("password: ") or "")
            else:
                email, name = await keyboard.line("e-mail: "), await keyboard.line("username: ")
                await account.register(email or "", name or "", await keyboard.secret("new password: ") or "")
        except ApiError as error:
            keyboard.show(f"! {_reasons(error)}")
        else:
            return True
    return False


def _reasons(error: ApiError) -> str:
    fields = [f"{e['field']}: {e['message']}" for e in error.problem.get("errors") or ()]
    return "; ".join(fields) or str(error)


def _name(person: dict[str, Any]) -> str:
    return _printable(str(person["display_name"] or person["username"] or person["id"]))


def _line(message: dict[str, Any]) -> str:
    said = "(deleted)" if message["deleted_at"] else _printable(message["content"])
    return f"[{message['created_at'][11:16]}] {_name(message['sender'])}: {said}"


def _one_line(text: str) -> str:
    return _printable(text).replace("\n", " ")[:60]


def _printable(text: str) -> str:
    """What others write does not move our cursor or colour our terminal."""
    return "".join(c for c in text if c.isprintable() or c == "\n")
