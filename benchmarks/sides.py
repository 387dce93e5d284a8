"""The two sides of the chat comparison and the floor below both, each ready to be loaded."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import cpu, peers
from benchmarks.harness import LoadFailed, Sample, run_load
from benchmarks.processes import HOST
from benchmarks.world import World

SUBSCRIBERS = 50
LISTENERS_OF_FANOUT = 100
SENDERS = 10
SIZE = 120
# What one message weighs on a member's socket in Parley; the others are padded to it.
EVENT_SIZE = 786
# High enough that nothing is refused; the limits are counted all the same.
PLENTY = "1000000"
LIMITS = (
    *("SEND_RATE", "SEND_BURST", "CONVERSATION_SEND_RATE", "CONVERSATION_SEND_BURST"),
    *("FRAME_RATE", "FRAME_BURST", "SOCKETS_PER_USER", "UNGREETED_PER_ADDRESS"),
)


@dataclass(frozen=True)
class Load:
    """`apart`: the messages are sent to a second process, so that the measured one does nothing but hand them on.

    `spread`: every second subscriber listens at the second process. `stalled` subscribers more read nothing.
    """

    rate: float
    seconds: float
    warmup: float = 1.0
    subscribers: int = SUBSCRIBERS
    apart: bool = False
    spread: bool = False
    stalled: int = 0

    @classmethod
    def burst(cls, messages: int, **more: Any) -> "Load":
        """All of them at once."""
        return cls(rate=1_000_000, seconds=messages / 1_000_000, warmup=0.0, **more)


@dataclass
class Server:
    port: int
    pids: Sequence[int]


@dataclass
class Side:
    """`second` is another process of the same service, on the same databases."""

    name: str
    protocol: str
    server: Server
    second: Server
    world: World
    plan: dict[str, Any] = field(default_factory=dict)
    conversations: dict[int, str] = field(default_factory=dict)
    """By number of subscribers; where a side has none, each run makes up a new one."""

    def measure(self, load: Load) -> Sample:
        """Operations are deliveries: one message to fifty subscribers counts fifty times."""
        plan = {
            "protocol": self.protocol,
            "host": HOST,
            "port": self.server.port,
            "send_port": (self.second if load.apart else self.server).port,
            "conversation": self.conversations.get(load.subscribers) or str(uuid.uuid4()),
            "listen_ports": [self.server.port, *([self.second.port] if load.spread else [])],
            "subscribers": load.subscribers,
            "stalled": load.stalled,
            "sender_count": SENDERS,
            "size": SIZE,
            "rate": load.rate,
            "seconds": load.seconds,
            "warmup": load.warmup,
            **self.plan,
        }
        parts = {"service": self.server.pids[:1] if load.apart or load.spread else self.server.pids}
        if load.spread:
            parts["service"] = [*parts["service"], self.second.pids[0]]
        if not load.apart:
            parts["databases"] = self.world.databases
        answer, used = run_load("benchmarks.load.chat", plan, cores=self.world.cores.others, parts=parts)
        if not answer["delivered"]:
            raise LoadFailed(f"{self.name}: nothing was delivered; see its log")
        return as_sample(answer, used)


def as_sample(answer: dict[str, Any], used: dict[str, float]) -> Sample:
    return Sample(
        operations=answer["delivered"],
        wall=answer["wall"],
        cpu=used,
        p50=answer["p50"],
        p99=answer["p99"],
        errors=answer["lost"] + answer["refused"],
        extra={"bytes": answer["bytes"] / max(1, answer["heard"]), "duplicates": answer["duplicates"]},
    )


def channels(world: World, layer: str) -> Side:
    env = {
        "PEER_DATABASE_URL": world.database(f"channels_{layer}"),
        "PEER_REDIS_URL": world.valkey.url,
        "PEER_SECRET_KEY": uuid.uuid4().hex * 2,
        "PEER_EVENT_BYTES": str(EVENT_SIZE),
    }
    found = []
    for name, cores in ((layer, world.cores.subject), (f"{layer}-second", world.cores.others)):
        server = peers.daphne(world.servers, layer=layer, name=f"channels-{name}", cores=cores, env=env)
        found.append(Server(server.port, [server.pid]))
    return Side(f"Channels + Daphne, {layer} layer", "channels", found[0], found[1], world)


def raw(world: World) -> Side:
    """uvicorn alone. It gets its frames from the senders, since it has nothing else to listen to."""
    started = peers.uvicorn(world.servers, "raw_fanout:app", name="raw-uvicorn", cores=world.cores.subject)
    server = Server(started.port, [started.pid])
    head = '{"s":"c:bench","q":1,"t":"message.new","d":{"content":"'
    tail = json.dumps("x" * (EVENT_SIZE - len(head) - SIZE - 4))[1:]
    plan = {"envelope_head": head, "envelope_tail": f"{tail}}}}}"}
    return Side("raw uvicorn, send loop", "raw", server, server, world, plan=plan)


SETTINGS = {name: {f"CHAT_{limit}": PLENTY for limit in LIMITS} for name in ("chat", "chat-2")}


def ours(world: World) -> Side:
    """Auth runs because chat asks it for profiles; its CPU time is not chat's. The worker's is."""
    people = [person.id for person in world.register(SENDERS + LISTENERS_OF_FANOUT)]
    tokens = [world.token(user_id) for user_id in people]
    cpu.pin([world.pid("chat-2")], world.cores.others)
    return Side(
        "Parley chat",
        "parley",
        Server(world.port("chat"), [world.pid("chat"), world.pid("chat-worker")]),
        Server(world.port("chat-2"), [world.pid("chat-2")]),
        world,
        plan={"path": "/ws/", "senders": tokens[:SENDERS], "listeners": tokens[SENDERS:]},
        conversations={count: world.group(people[: SENDERS + count]) for count in (SUBSCRIBERS, LISTENERS_OF_FANOUT)},
    )
