"""Which processes make up Parley, and what each of them is told."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import ports
from deploy.local.binaries import CHECKOUT

DATABASES = ("auth", "chat", "notify")
_OURS = ("PARLEY_", "AUTH_", "CHAT_", "NOTIFY_", "GATEWAY_", "SANDBOX_", "REDIS_URL")


@dataclass(frozen=True)
class Member:
    """A process of the stack: `python -m <module> <arguments>`, and the ports that it wants."""

    name: str
    module: str
    arguments: tuple[str, ...] = ("serve",)
    port: int = 0
    """0: it answers no requests, as the workers; `ANY_PORT`: whichever is free."""
    metrics: int = 0

    @property
    def service(self) -> str:
        return self.module.rpartition(".")[2].removesuffix("_service")

    @property
    def prefix(self) -> str:
        return self.service.upper()

    @property
    def inherits(self) -> bool:
        """Whether it takes requests on a socket that was opened for it (libs/serve.py)."""
        return self.port != 0 and self is not SANDBOX


ANY_PORT = -1
SANDBOX = Member("sandbox", "deploy.sandbox", arguments=(), port=8025)
GATEWAY = Member("gateway", "gateway", port=8000, metrics=9090)
SMTP_PORT, IMAP_PORT = 1025, 1143


def members(chats: int = 2) -> list[Member]:
    """In the order in which they start."""
    return [
        SANDBOX,
        Member("auth", "auth_service", port=8001, metrics=9091),
        Member("chat", "chat_service", port=8002, metrics=9092),
        *(
            Member(f"chat-{number}", "chat_service", port=ANY_PORT, metrics=9097 if number == 2 else ANY_PORT)
            for number in range(2, chats + 1)
        ),
        Member("notify", "notify_service", port=8003, metrics=9093),
        Member("auth-worker", "auth_service", arguments=("worker",), metrics=9094),
        Member("chat-worker", "chat_service", arguments=("worker",), metrics=9095),
        Member("notify-worker", "notify_service", arguments=("worker",), metrics=9096),
        GATEWAY,
    ]


@dataclass
class Addresses:
    """Who listens where in this run."""

    requests: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, int] = field(default_factory=dict)
    smtp: int = 0
    imap: int = 0

    @property
    def assigned(self) -> set[int]:
        """All of them. Nobody listens there before the processes start."""
        return {*self.requests.values(), *self.metrics.values(), self.smtp, self.imap}

    def url(self, name: str) -> str:
        return f"http://{ports.HOST}:{self.requests[name]}"

    def urls(self, service: str) -> str:
        """Of all processes of a service, `chat` and `chat-2`, comma separated."""
        return ",".join(self.url(name) for name in self.requests if name.partition("-")[0] == service)


def assign(chosen: list[Member], *, fixed: bool, gateway_port: int | None) -> Addresses:
    """The ports of the table where they are free and `fixed` asks for them, otherwise any."""
    addresses = Addresses()
    taken: set[int] = set()

    def pick(wanted: int) -> int:
        port = ports.wanted_or_free(wanted, taken) if fixed and wanted > 0 else ports.free_port(taken)
        taken.add(port)
        return port

    if gateway_port is not None:
        ports.require(gateway_port)
        taken.add(gateway_port)
    for member in chosen:
        if member.port:
            given = gateway_port if member is GATEWAY else None
            addresses.requests[member.name] = given or pick(member.port)
        if member.metrics:
            addresses.metrics[member.name] = pick(member.metrics)
    addresses.smtp, addresses.imap = pick(SMTP_PORT), pick(IMAP_PORT)
    return addresses


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Without anything that means Parley: a throw-away stack must not reach for the servers of the real one."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_OURS)}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), environ.get("PYTHONPATH")]))}


@dataclass
class World:
    """What the processes share in this run."""

    addresses: Addresses
    databases: Mapping[str, str]
    redis_url: str
    key_ring: Path
    certificate: Path
    """Of the sandbox's mail server, for STARTTLS."""
    files: Path
    """Where chat keeps what people upload."""
    countries: Path
    """The database that `./parley geo` makes, if somebody asked for it."""
    secrets: Mapping[str, str]
    """Those that the state folder keeps."""
    environ: Mapping[str, str]
    """Of the user. It wins over our defaults, but not over our addresses."""

    def of(self, member: Member) -> dict[str, str]:
        defaults = {
            "PARLEY_ENVIRONMENT": "development",
            "PARLEY_LOG_FORMAT": "json",
            "PARLEY_KEY_RING": str(self.key_ring),
            "PARLEY_FIELD_KEYS": self.secrets["field_keys"],
            "PARLEY_PUBLIC_URL": self.addresses.url("gateway"),
            "PYTHONUNBUFFERED": "1",
        }
        special = {
            "auth": self._auth,
            "chat": self._chat,
            "gateway": self._gateway,
            "notify": self._notify,
            "sandbox": self._sandbox,
        }
        own = {**self._shared(), **special.get(member.service, dict)()}
        if member.service in self.databases:
            own[f"{member.prefix}_DATABASE_URL"] = self.databases[member.service]
        own |= {
            f"{member.prefix}_HOST": ports.HOST,
            f"{member.prefix}_PORT": str(self.addresses.requests.get(member.name, 0)),
            f"{member.prefix}_METRICS_PORT": str(self.addresses.metrics.get(member.name, 0)),
        }
        return {**defaults, **self.environ, **own}

    def command(self, member: Member) -> list[str]:
        if member is not SANDBOX:
            return ["-m", member.module, *member.arguments]
        options = {
            "--http-port": self.addresses.requests["sandbox"],
            "--smtp-port": self.addresses.smtp,
            "--imap-port": self.addresses.imap,
            "--certificate-file": self.certificate,
        }
        return ["-m", member.module, *(str(part) for pair in options.items() for part in pair)]

    def _shared(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis_url,
            "PARLEY_AUTH_URL": self.addresses.url("auth"),
            "PARLEY_CHAT_URL": self.addresses.url("chat"),
            "PARLEY_NOTIFY_URL": self.addresses.url("notify"),
        }

    def _auth(self) -> dict[str, str]:
        keys = self.environ.get("AUTH_REFRESH_KEYS", self.secrets["refresh_keys"])
        return {"AUTH_REFRESH_KEYS": keys, **self._sign_in_providers()}

    def _sign_in_providers(self) -> dict[str, str]:
        """The sandbox plays all of them."""
        if "sandbox" not in self.addresses.requests or "AUTH_PROVIDERS" in self.environ:
            return {}
        from deploy.sandbox.identity import settings_of

        return {
            "AUTH_PROVIDERS": json.dumps(settings_of(self.addresses.url("sandbox"))),
            "AUTH_PROVIDER_PRIVATE_NETWORKS": "true",
            # A page of the same origin, from which the code in its address can be exchanged.
            "AUTH_RETURN_URLS": self.environ.get("AUTH_RETURN_URLS", f"{self.addresses.url('gateway')}/api/v1/docs"),
        }

    def _chat(self) -> dict[str, str]:
        return {"CHAT_ATTACHMENT_STORE": self.environ.get("CHAT_ATTACHMENT_STORE", str(self.files))}

    def _gateway(self) -> dict[str, str]:
        countries = self.environ.get("GATEWAY_COUNTRY_DATABASE", str(self.countries) if self.countries.exists() else "")
        return {
            **({"GATEWAY_COUNTRY_DATABASE": countries} if countries else {}),
            "GATEWAY_AUTH_URLS": self.addresses.urls("auth"),
            "GATEWAY_CHAT_URLS": self.addresses.urls("chat"),
            "GATEWAY_SOCKET_URLS": self.addresses.urls("chat"),
            "GATEWAY_NOTIFY_URLS": self.addresses.urls("notify"),
        }

    def _notify(self) -> dict[str, str]:
        # The sandbox's browsers and customers are on this machine.
        inside = {"NOTIFY_PRIVATE_NETWORKS": "true"} if "sandbox" in self.addresses.requests else {}
        return {**self._mails(), **self._texts(), **inside}

    def _texts(self) -> dict[str, str]:
        if "NOTIFY_SMS_URL" in self.environ or "sandbox" not in self.addresses.requests:
            return {}
        return {
            "NOTIFY_SMS_URL": self.addresses.url("sandbox") + "/sms/messages",
            "NOTIFY_SMS_TOKEN": self.secrets["sms"],
        }

    def _mails(self) -> dict[str, str]:
        if "NOTIFY_SMTP_URL" in self.environ:
            return {}
        credentials = f"parley:{self.secrets['smtp']}"
        return {
            "NOTIFY_SMTP_URL": f"smtp://{credentials}@{ports.HOST}:{self.addresses.smtp}?starttls=required",
            "NOTIFY_SMTP_CA_FILE": str(self.certificate),
            "NOTIFY_MAIL_FROM": self.environ.get("NOTIFY_MAIL_FROM", "Parley <parley@example.com>"),
        }

    def _sandbox(self) -> dict[str, str]:
        return {
            "SANDBOX_SMTP_USER": "parley",
            "SANDBOX_SMTP_PASSWORD": self.secrets["smtp"],
            "SANDBOX_SMS_TOKEN": self.secrets["sms"],
        }
