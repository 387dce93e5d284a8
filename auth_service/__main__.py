"""`python -m auth_service`: the two processes of auth, and its administration."""

import argparse
import asyncio
import getpass
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from auth_service import worker
from auth_service.app import create_app, founding, open_kit
from auth_service.domain import administration, identifiers, imports, revocations, startup
from auth_service.domain.accounts import Registration
from auth_service.schemas.imports import read_line
from auth_service.settings import Settings
from libs import migrations, serve
from libs.clock import Clock
from libs.errors import ServiceError
from libs.keys import USER
from libs.runtime import open_runtime
from libs.settings import read


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        options.run(read(Settings), options)
    except ServiceError as error:
        reasons = [e.message for e in error.errors] or [error.detail]
        sys.exit("\n".join(reasons))


def _serve(settings: Settings, _options: argparse.Namespace) -> None:
    serve.serve("auth", settings, lambda: create_app(settings))


def _work(settings: Settings, _options: argparse.Namespace) -> None:
    serve.work("auth", settings, partial(worker.main, settings))


def _migrate(settings: Settings, _options: argparse.Namespace) -> None:
    migrations.upgrade("auth", settings.database_url.get_secret_value())


def _rotate_keys(settings: Settings, options: argparse.Namespace) -> None:
    path: Path = settings.key_ring
    if options.revoke is not None:
        print(administration.revoke_key(path, options.revoke))
    else:
        print(administration.rotate_keys(path, options.owner, algorithm=options.algorithm, only_new=options.if_missing))
    if options.out_dir is not None:
        for written in administration.write_rings(path, options.out_dir):
            print(f"Wrote {written}")


def _create_admin(settings: Settings, options: argparse.Namespace) -> None:
    if options.email is None:
        print(asyncio.run(_with_kit(settings, partial(startup.make_administrator, wanted=founding(settings)))))
        return
    new = Registration(
        password=os.environ.get("AUTH_ADMIN_PASSWORD") or _ask_password(),
        email=identifiers.email(options.email),
        username=identifiers.username(options.username) if options.username else None,
    )
    print(asyncio.run(_with_kit(settings, partial(administration.create_admin, new=new))))


def _seed_demo(settings: Settings, _options: argparse.Namespace) -> None:
    if settings.environment != "development":
        sys.exit("Demo users have a public password: they exist in development only.")
    print(asyncio.run(_with_kit(settings, administration.seed_demo)))


def _import_users(settings: Settings, options: argparse.Namespace) -> None:
    """Prints a line for each row that was not taken, and how many were."""
    try:
        lines = options.file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{options.file} cannot be read: {error}")
    rows = [(number, read_line(line)) for number, line in enumerate(lines, 1) if line.strip()]
    print(asyncio.run(_with_kit(settings, partial(imports.import_all, rows=rows))))


def _verify_audit(settings: Settings, _options: argparse.Namespace) -> None:
    print(asyncio.run(_with_kit(settings, administration.verify_audit)))


async def _with_kit(settings: Settings, job: administration.Job) -> str:
    pull = revocations.active_at(Clock())
    async with open_runtime("auth", settings, pull=pull) as runtime, open_kit(runtime, settings) as kit:
        return await job(kit)


def _ask_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="auth", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("serve", help="answer requests").set_defaults(run=_serve)
    commands.add_parser("worker", help="relay events, keep revocations, tidy up").set_defaults(run=_work)
    commands.add_parser("migrate", help="bring the database to the newest version").set_defaults(run=_migrate)
    rotate = commands.add_parser("rotate-keys", help="make the key ring, or let its next key sign")
    rotate.set_defaults(run=_rotate_keys)
    rotate.add_argument("--algorithm", choices=("HS256", "ES256"), help="of a new ring; default HS256")
    rotate.add_argument("--if-missing", action="store_true", help="leave a ring that exists as it is")
    rotate.add_argument("--revoke", metavar="KID", help="refuse this key from now on, as after a theft")
    rotate.add_argument("--owner", default=USER, help="`user`, or the service whose key it is")
    rotate.add_argument(
        "--out-dir", type=Path, help="also write the rings of the other services here, as `chat.json` ..."
    )
    admin = commands.add_parser("create-admin", help="make an administrator, or make somebody one")
    admin.set_defaults(run=_create_admin)
    admin.add_argument("email", nargs="?", help="without it: the one that PROJECT_ADMIN_DETAIL names")
    admin.add_argument("--username")
    admin.epilog = "The password comes from AUTH_ADMIN_PASSWORD, or is asked for."
    importing = commands.add_parser("import-users", help="make accounts from a file with one JSON object a line")
    importing.set_defaults(run=_import_users)
    importing.add_argument("file", type=Path)
    commands.add_parser("verify-audit", help="compute the chain of the audit log again").set_defaults(run=_verify_audit)
    commands.add_parser("seed-demo", help="ada, grace and alan, for development").set_defaults(run=_seed_demo)
    return parser


if __name__ == "__main__":
    # People get sentences; the two processes set up their own logging.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    main()
