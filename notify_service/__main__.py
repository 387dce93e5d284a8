"""`python -m notify_service`: the two processes of notify."""

import argparse
from collections.abc import Sequence
from functools import partial

from libs import migrations, serve
from libs.settings import SettingsRefused, read, stop
from notify_service import worker
from notify_service.app import create_app
from notify_service.deps import fixed_accounts
from notify_service.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="notify", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("serve", help="answer requests").set_defaults(run=_serve)
    commands.add_parser("worker", help="hear events and send what is due").set_defaults(run=_work)
    commands.add_parser("migrate", help="bring the database to the newest version").set_defaults(run=_migrate)
    parser.parse_args(arguments).run(read(Settings))


def _serve(settings: Settings) -> None:
    _look_at_accounts(settings)
    serve.serve("notify", settings, lambda: create_app(settings))


def _work(settings: Settings) -> None:
    _look_at_accounts(settings)
    serve.work("notify", settings, partial(worker.main, settings))


def _look_at_accounts(settings: Settings) -> None:
    """Those that the settings describe: what cannot be meant ends the process with one line."""
    try:
        fixed_accounts(settings)
    except SettingsRefused as error:
        stop(str(error))


def _migrate(settings: Settings) -> None:
    migrations.upgrade("notify", settings.database_url.get_secret_value())


if __name__ == "__main__":
    main()
