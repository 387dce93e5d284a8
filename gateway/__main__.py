"""python -m gateway serve"""

import argparse
from functools import partial

from gateway.app import create_app
from gateway.routes.front import Front
from gateway.settings import Settings
from libs.serve import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The one door to all services.")
    parser.add_argument("command", choices=["serve"], help="answer requests until SIGTERM")
    parser.parse_args()
    settings = Settings()
    serve("gateway", settings, partial(create_app, settings), http=Front)


if __name__ == "__main__":
    main()
