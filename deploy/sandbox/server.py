"""All simulators in one event loop: started together, stopped together."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog
import uvicorn

from deploy.sandbox import certificates
from deploy.sandbox.app import create_app
from deploy.sandbox.discord import Discord
from deploy.sandbox.fcm import Firebase
from deploy.sandbox.imap import ImapServer
from deploy.sandbox.slack import Slack
from deploy.sandbox.sms import Texts
from deploy.sandbox.smtp import SmtpOptions, SmtpServer, open_postbox
from deploy.sandbox.sns import Sns
from deploy.sandbox.telegram import Telegram
from deploy.sandbox.twilio import Twilio
from deploy.sandbox.webhook import Customer
from deploy.sandbox.webpush import PushService
from deploy.sandbox.whatsapp import WhatsApp, WhatsAppOptions
from libs.clock import Clock

log = structlog.get_logger(__name__)

# `sandbox` is the host name in compose and Kubernetes.
CERTIFIED_NAMES = ("localhost", "sandbox", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Options:
    smtp: SmtpOptions
    host: str = "127.0.0.1"
    http_port: int = 8025
    smtp_port: int = 1025
    imap_port: int | None = None
    """None: nobody reads returned mails over IMAP."""
    certificate_file: Path | None = None
    sms_token: str = "parley"  # noqa: S105  -- of a simulator
    telegram_token: str = "1000001:parley"  # noqa: S105  -- of a simulator
    slack_webhook: str = "T000/B000/parley"
    discord_webhook: str = "1/parley"
    whatsapp: WhatsAppOptions = field(default_factory=WhatsAppOptions)


class _Http(uvicorn.Server):
    """Signals belong to the process, which also has the other listeners to close."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Sandbox:
    """Port 0 takes a free one; the ports in use are `http_port`, `smtp_port` and `imap_port`."""

    _serving: asyncio.Task[None]

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        names = dict.fromkeys((*CERTIFIED_NAMES, options.host))
        self.certificate = certificates.make(tuple(names), clock)
        self.postbox = open_postbox(options.smtp, clock)
        self.texts = Texts(options.sms_token, self.postbox.effects, clock)
        self.telegram = Telegram(options.telegram_token, self.postbox.effects, clock)
        self.whatsapp = WhatsApp(options.whatsapp, self.postbox.effects, clock)
        self.slack = Slack(options.slack_webhook, self.postbox.effects, clock)
        self.discord = Discord(options.discord_webhook, self.postbox.effects, clock)
        self.twilio = Twilio(self.postbox.effects, clock)
        self._options = options
        self.sns = Sns(clock)
        self._smtp = SmtpServer(options.smtp, self.postbox, self.certificate)
        self._imap = ImapServer(options.smtp, self.postbox, self.certificate)
        simulators = {
            "texts": self.texts,
            "telegram": self.telegram,
            "whatsapp": self.whatsapp,
            "slack": self.slack,
            "discord": self.discord,
            "twilio": self.twilio,
            "sns": self.sns,
            "firebase": Firebase(self.postbox.effects, clock),
            "webpush": PushService(self.postbox.effects, clock),
            "customer": Customer(self.postbox.effects, clock),
        }
        config = uvicorn.Config(
            create_app(self.postbox, self.certificate, **simulators),
            http="httptools",
            ws="none",
            lifespan="off",
            # Longer than clients rest: otherwise one may write to a connection at the moment it is closed.
            timeout_keep_alive=75,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._http = _Http(config)
        self.http_port = 0
        self.smtp_port = 0
        self.imap_port = 0

    async def start(self) -> None:
        """Raises OSError when a port is taken. HTTP opens last, so that health means everything."""
        with contextlib.ExitStack() as opened:
            mail = opened.enter_context(listen(self._options.host, self._options.smtp_port))
            web = opened.enter_context(listen(self._options.host, self._options.http_port))
            if self._options.certificate_file is not None:
                self.certificate.write(self._options.certificate_file)
            self.smtp_port, self.http_port = mail.getsockname()[1], web.getsockname()[1]
            await self._smtp.start(mail)
            if self._options.imap_port is not None:
                returned = opened.enter_context(listen(self._options.host, self._options.imap_port))
                self.imap_port = returned.getsockname()[1]
                await self._imap.start(returned)
            opened.pop_all()
        self._serving = asyncio.create_task(self._http.serve([web]))
        await _first(self._http.ready, self._serving)
        ports = {"http_port": self.http_port, "smtp_port": self.smtp_port, "imap_port": self.imap_port}
        log.info("sandbox_ready", **ports)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, or until the HTTP side fails, whose error is then raised."""
        async with self:
            await _first(stop, self._serving)

    async def stop(self) -> None:
        self._http.should_exit = True
        await self.whatsapp.close()
        await self._smtp.stop()
        await self._imap.stop()
        await self.sns.callbacks.close()
        await self.telegram.close()
        await self.twilio.callbacks.close()
        await self._serving

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def _first(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)
