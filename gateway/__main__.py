"""python -m gateway serve|check"""

import argparse
import sys
from functools import partial

from gateway.app import create_app
from gateway.deps import check
from gateway.domain.policy_file import Refused
from gateway.routes.announced import protocol
from gateway.settings import Settings
from libs.serve import serve
from libs.settings import SettingsRefused, read, stop

_OTHER_FILES = 256  # kept connections, logs, libraries


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The one door to all services.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer requests until SIGTERM")
    commands.add_parser("check", help="say what is wrong with the policy file, if anything is")
    command = parser.parse_args().command
    settings = read(Settings)
    try:
        if command == "check":
            check(settings)
        else:
            _serve(settings)
    except Refused as error:
        sys.exit(f"The policy file is refused. {error}")
    except SettingsRefused as error:
        stop(str(error))


def _serve(settings: Settings) -> None:
    serve(
        "gateway",
        settings,
        partial(create_app, settings),
        http=protocol(settings.proxy_protocol),
        # Each connection may have one to a service.
        open_files=2 * settings.max_connections + _OTHER_FILES,
    )


if __name__ == "__main__":
    main()
