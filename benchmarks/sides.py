"""The two sides of the chat comparison and the floor below both, each ready to be loaded."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import cpu, peers
from benchmarks.harness import Sample, run_load
from benchmarks.processes import HOST, ROOT
from benchmarks.world import World, fanout_channel

SUBSCRIBERS = 50
LISTENERS_OF_FANOUT = 100
SENDERS = 10
SIZE = 120
EVENT_SIZE = 420

# Command, standard input and environment of a program that publishes.
Publisher = tuple[list[str], str, dict[str, str]]


@dataclass
class Load:
    """What is asked of a side; `published` puts events beside the sockets, so that nothing is stored."""

    rate: float
    seconds: float
    warmup: float = 1.0
    subscribers: int = SUBSCRIBERS
    published: bool = False


@dataclass
class Side:
    name: str
    protocol: str
    port: int
    parts: dict[str, Sequence[int]]
    cores: set[int]
    plan: dict[str, Any] = field(default_factory=dict)
    conversation: Callable[[Load], str] = lambda _: str(uuid.uuid4())
    publisher: Callable[[str, Load], Publisher] | None = None

    def measure(self, load: Load) -> Sample:
        """Operations are deliveries: one message to fifty subscribers counts fifty times."""
        conversation = self.conversation(load)
        plan = {
            "protocol": self.protocol,
            "host": HOST,
            "port": self.port,
            "conversation": conversation,
            "subscribers": load.subscribers,
            "sender_count": SENDERS,
            "size": SIZE,
            "rate": load.rate,
            "seconds": load.seconds,
            "warmup": load.warmup,
            "published": load.published and self.publisher is not None,
            **self.plan,
        }
        with ExitStack() as stack:

            def publish() -> None:
                if load.published and self.publisher is not None:
                    argv, text, env = self.publisher(conversation, load)
                    stack.enter_context(feeding(argv, text, env, cores=self.cores))

            answer, used = run_load("benchmarks.load.chat", plan, cores=self.cores, parts=self.parts, on_begin=publish)
        return as_sample(answer, used)


@contextmanager
def feeding(argv: list[str], text: str, env: dict[str, str], *, cores: set[int]) -> Iterator[None]:
    """A publisher beside the block, waited for at its end."""
    process = subprocess.Popen(
        argv,
        cwd=peers.FOLDER if "channels_publish.py" in argv[1] else ROOT,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - the harness has no threads
    )
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    yield
    process.wait()


def as_sample(answer: dict[str, Any], used: dict[str, float]) -> Sample:
    return Sample(
        operations=answer["delivered"],
        wall=answer["wall"],
        cpu=used,
        p50=answer["p50"],
        p99=answer["p99"],
        errors=answer["lost"] + answer["refused"],
        extra={"bytes": answer["bytes"], "duplicates": answer["duplicates"]},
    )


def event_texts(load: Load, *, number_from: int = 0, template: dict[str, Any] | None = None) -> list[str]:
    """One line a message, all of one size: what a member's socket carries when somebody has written."""
    texts = []
    for number in range(int(load.rate * load.seconds)):
        content = f"~{number:08d}~".ljust(SIZE, "x")
        frame = {
            "s": "c:bench",
            "q": number_from + number,
            "t": "message.new",
            "d": {**(template or {}), "content": content},
        }
        texts.append(json.dumps(frame).ljust(EVENT_SIZE))
    return texts


def channels(world: World, cores: cpu.Cores, layer: str) -> Side:
    env = {
        "PEER_DATABASE_URL": world.database(f"channels_{layer}"),
        "PEER_REDIS_URL": world.valkey.url,
        "PEER_SECRET_KEY": uuid.uuid4().hex * 2,
    }
    server = peers.daphne(world.servers, layer=layer, cores=cores.subject, env=env)

    def publisher(conversation: str, load: Load) -> Publisher:
        argv = [str(peers.python()), "channels_publish.py", conversation, str(load.rate)]
        return argv, "\n".join(event_texts(load)), {**env, "PEER_LAYER": layer}

    return Side(
        f"Channels + Daphne, {layer} layer",
        "channels",
        server.port,
        {"service": [server.pid], "databases": world.databases},
        cores.others,
        publisher=publisher,
    )


def raw(world: World, cores: cpu.Cores) -> Side:
    """uvicorn alone. It gets its frames from the senders, since it has nothing else to listen to."""
    server = peers.uvicorn(world.servers, "raw_fanout:app", name="raw-uvicorn", cores=cores.subject)
    sample = event_texts(Load(rate=1, seconds=1))[0]
    head, _, rest = sample.partition("~00000000~")
    tail = rest.lstrip("x")
    parts: dict[str, Sequence[int]] = {"service": [server.pid], "databases": world.databases}
    plan = {"envelope_head": head, "envelope_tail": tail}
    return Side("raw uvicorn, send loop", "raw", server.port, parts, cores.others, plan=plan)


# High enough that nothing is refused; the limits are counted all the same.
PLENTY = "1000000"
LIMITS = ("SEND_RATE", "SEND_BURST", "CONVERSATION_SEND_RATE", "CONVERSATION_SEND_BURST", "FRAME_RATE", "FRAME_BURST")
SETTINGS = {"chat": {f"CHAT_{name}": PLENTY for name in LIMITS}}


def ours(world: World, cores: cpu.Cores) -> Side:
    """Auth runs because chat asks it for profiles; its CPU time is not chat's."""
    people = [user_id for user_id, _ in world.register(LISTENERS_OF_FANOUT + SENDERS)]
    tokens = [world.token(user_id) for user_id in people]
    small, big = world.group(people[: SENDERS + SUBSCRIBERS]), world.group(people)

    def conversation(load: Load) -> str:
        return small if load.subscribers == SUBSCRIBERS else big

    def publisher(conversation: str, load: Load) -> Publisher:
        plan = {"url": world.valkey.url, "channel": fanout_channel(conversation), "rate": load.rate}
        plan["texts"] = event_texts(load)
        return [sys.executable, "-m", "benchmarks.load.publish"], json.dumps(plan), {}

    return Side(
        "Parley chat, one process",
        "parley",
        world.port("chat"),
        {"service": [world.pid("chat"), world.pid("chat-worker")], "databases": world.databases},
        cores.others,
        plan={"path": "/ws/", "senders": tokens[:SENDERS], "listeners": tokens[SENDERS:]},
        conversation=conversation,
        publisher=publisher,
    )
