"""./parley, after the installation. Imports what a command needs only in that command: `--help` needs no packages."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.binaries import CHECKOUT
from deploy.local.errors import LocalError

_SERVICES = ("auth", "chat", "notify", "gateway")
_EPILOG = """\
commands of a service (each has its own --help):
  auth chat notify gateway    ./parley auth create-admin ada@example.com

environment:
  AUTH_DATABASE_URL CHAT_DATABASE_URL NOTIFY_DATABASE_URL REDIS_URL
                          servers to use instead of those that Parley starts itself
  PARLEY_STATE            folder of data, keys and logs (.parley in the checkout; for root below /var/tmp)
  PARLEY_PORTS            the range that free ports are chosen from (20000-31999)
  PARLEY_LOCAL_BINARIES   system: PostgreSQL and Valkey or Redis of the system rather than those of the lock
  PARLEY_PYTHON           the Python to install with
  .env in the checkout is read as well.
"""


def main(arguments: Sequence[str]) -> int:
    os.chdir(CHECKOUT)
    try:
        return _run(arguments)
    except LocalError as error:
        print(f"parley: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output, as in `./parley logs | head`, has read enough; flushing at exit must not fail over it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: Sequence[str]) -> int:
    # What follows these words belongs to another program, its options too.
    if arguments and arguments[0] in ("test", "bench", *_SERVICES):
        return _pass_on(arguments[0], arguments[1:])
    options = _parser().parse_args(arguments)
    if options.command == "logs":
        from deploy.local.logs import show
        from deploy.local.state import State

        show(State.of_checkout().logs, only=options.service, lines=options.lines, follow=options.follow)
        return 0
    if options.command == "talk":
        from deploy.local.commands import talk

        return talk(options.url)
    if options.command == "restart":
        from deploy.local.commands import restart

        return restart(options.process)
    if options.command == "clean":
        from deploy.local.commands import clean

        return clean(sure=options.yes)
    if options.command == "geo":
        from deploy.local.commands import geo

        return geo(options.file)
    if options.command == "migrate":
        from deploy.local.commands import migrate

        return migrate(_environ())
    from deploy.local.up import up

    up(_environ(), options.port)
    return 0


def _pass_on(command: str, arguments: Sequence[str]) -> int:
    from deploy.local import commands

    if command == "test":
        return commands.test(arguments)
    if command == "bench":
        return commands.bench(arguments)
    return commands.service(command, arguments, _environ())


def _environ() -> dict[str, str]:
    from dotenv import dotenv_values

    written = {name: value for name, value in dotenv_values(CHECKOUT / ".env").items() if value is not None}
    return {**written, **os.environ}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./parley",
        description="Parley on your machine, without containers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    up = commands.add_parser("up", help="start everything, until Ctrl-C")
    up.add_argument("--port", type=_port, default=8000, help="of the gateway (%(default)s)")
    commands.add_parser("test", help="all tests; with arguments: pytest with these arguments")
    commands.add_parser("bench", help="the benchmarks")
    commands.add_parser("migrate", help="bring the databases to their newest version")
    logs = commands.add_parser("logs", help="what the processes wrote")
    logs.add_argument("service", nargs="?", help="one process, as auth or chat-2 (all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on reading")
    logs.add_argument("-n", "--lines", type=int, default=200, help="how many of the past (%(default)s)")
    restart = commands.add_parser("restart", help="processes of a stack that runs, without a failed request")
    restart.add_argument("process", nargs="*", help="as gateway or chat-2 (all but the servers)")
    talk = commands.add_parser("talk", help="chat from this terminal with a stack that runs")
    talk.add_argument("--url", help="of a gateway (that of ./parley up)")
    geo = commands.add_parser("geo", help="make a country database for the gateway (a minute or two)")
    geo.add_argument("file", nargs="?", type=Path, help="where to (the state folder, where ./parley up finds it)")
    clean = commands.add_parser("clean", help="remove data, keys and logs")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
