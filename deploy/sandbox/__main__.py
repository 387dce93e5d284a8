"""python -m deploy.sandbox: every simulator, until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import MAX_MESSAGE_BYTES, SmtpOptions
from deploy.sandbox.smtp_rules import PRESETS
from deploy.sandbox.whatsapp import WhatsAppOptions
from libs.logging import configure


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    port = int(os.environ.get("SANDBOX_HTTP_PORT", "8025"))
    parser.add_argument("--http-port", type=int, default=port, help="pages and APIs (%(default)s; 0: any)")
    parser.add_argument("--smtp-port", type=int, default=1025, help="mail (%(default)s; 0: any)")
    parser.add_argument("--imap-port", type=int, help="returned mails, for who reads them (none; 0: any)")
    # Arguments are visible to every user of the machine; the environment is the other way to say it.
    _credential(parser, "--smtp-user", "SANDBOX_SMTP_USER")
    _credential(parser, "--smtp-password", "SANDBOX_SMTP_PASSWORD")
    _credential(parser, "--sms-token", "SANDBOX_SMS_TOKEN", default="parley")
    _credential(parser, "--telegram-token", "SANDBOX_TELEGRAM_TOKEN", default="1000001:parley")
    _credential(parser, "--slack-webhook", "SANDBOX_SLACK_WEBHOOK", default="T000/B000/parley")
    _credential(parser, "--discord-webhook", "SANDBOX_DISCORD_WEBHOOK", default="1/parley")
    _credential(parser, "--whatsapp-token", "SANDBOX_WHATSAPP_TOKEN", default="parley")
    parser.add_argument("--certificate-file", type=Path, help="write the certificate of STARTTLS there")
    parser.add_argument("--max-message-bytes", type=int, default=MAX_MESSAGE_BYTES)
    parser.add_argument("--max-messages-per-connection", type=int, help="421 after that many (no limit)")
    parser.add_argument("--max-connections", type=int, help="421 to more at a time (no limit)")
    parser.add_argument(
        "--smtp-rules", choices=list(PRESETS), default="none", help="limits of a provider (%(default)s)"
    )
    given = parser.parse_args(arguments)
    smtp = SmtpOptions(
        user=given.smtp_user,
        password=given.smtp_password,
        max_message_bytes=given.max_message_bytes,
        max_messages_per_connection=given.max_messages_per_connection,
        max_connections=given.max_connections,
        rules=given.smtp_rules,
    )
    return Options(
        smtp=smtp,
        host=given.host,
        http_port=given.http_port,
        smtp_port=given.smtp_port,
        imap_port=given.imap_port,
        certificate_file=given.certificate_file,
        sms_token=given.sms_token,
        telegram_token=given.telegram_token,
        slack_webhook=given.slack_webhook,
        discord_webhook=given.discord_webhook,
        whatsapp=WhatsAppOptions(token=given.whatsapp_token),
    )


def _credential(parser: argparse.ArgumentParser, option: str, variable: str, default: str | None = None) -> None:
    value = os.environ.get(variable, default)
    parser.add_argument(option, default=value, required=value is None, help=f"or {variable}")


async def serve(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Sandbox(options).run(stop)


def main(arguments: list[str]) -> int:
    environment = os.environ
    configure(
        "sandbox",
        level=environment.get("PARLEY_LOG_LEVEL", "info"),
        form=environment.get("PARLEY_LOG_FORMAT", "json"),
    )
    # aiosmtpd logs every command, uvicorn every phase: more than a developer wants to read.
    for noisy in ("mail.log", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        asyncio.run(serve(parse(arguments)))
    except OSError as error:
        print(f"The sandbox cannot start: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
