"""`python -m chat_service serve | worker | migrate`."""

import argparse
from collections.abc import Sequence
from functools import partial

from chat_service import worker
from chat_service.app import create_app
from chat_service.routes.wire import Http, Wire
from chat_service.settings import Settings
from libs import migrations, serve
from libs.settings import read

# Frames over 64 KiB get an answer of ours (4507); only what is over four times that is cut off by the library.
SOCKET_OPTIONS = {"http": Http, "ws": Wire, "ws_max_size": 256 * 1024}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    options.run(read(Settings))


def _serve(settings: Settings) -> None:
    serve.serve("chat", settings, lambda: create_app(settings), **SOCKET_OPTIONS)


def _work(settings: Settings) -> None:
    serve.work("chat", settings, partial(worker.main, settings))


def _migrate(settings: Settings) -> None:
    migrations.upgrade("chat", settings.database_url.get_secret_value())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chat", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("serve", help="answer requests and hold sockets").set_defaults(run=_serve)
    commands.add_parser("worker", help="relay events, hear auth, find who is away").set_defaults(run=_work)
    commands.add_parser("migrate", help="bring the database to the newest version").set_defaults(run=_migrate)
    return parser


if __name__ == "__main__":
    main()
