"""`./parley bench`: the comparisons, one after the other."""

import argparse
import sys
from collections.abc import Callable

from benchmarks import auth, chat, gateway, notify, report, slow, soak
from benchmarks.harness import LoadFailed, Options
from benchmarks.report import Section
from deploy.local.errors import LocalError

COMPARISONS: dict[str, Callable[[Options], Section]] = {
    "gateway": gateway.compare,
    "chat": chat.compare,
    "sockets": chat.compare_sockets,
    "auth": auth.compare,
    "notify": notify.compare,
    "slow": slow.compare,
    "soak": soak.compare,
}


def main() -> None:
    parser = argparse.ArgumentParser("parley bench", description="Parley beside its peers, on one machine.")
    parser.add_argument(
        "what",
        nargs="*",
        choices=[*COMPARISONS, []],
        metavar=f"{{{','.join(COMPARISONS)}}}",
        help=f"{', '.join(COMPARISONS)}; default: all",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=list(notify.PARTS),
        metavar="PART",
        help=f"of notify this part alone: {', '.join(notify.PARTS)}; may be given several times",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default 5)")
    parser.add_argument("--quick", action="store_true", help="short measurements: a look, not a result")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--max-load", type=float, help="drop rounds that end with a higher load average")
    chosen = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("Benchmarks read CPU times from /proc, which only Linux has.")
    if chosen.write and (chosen.quick or chosen.rounds < 5):
        sys.exit("Only results of five full rounds or more are written.")
    if chosen.only and (chosen.write or chosen.what != ["notify"]):
        sys.exit("Parts are of notify (./parley bench notify --only ...), and only whole sections are written.")
    options = Options(chosen.rounds, quick=chosen.quick, max_load=chosen.max_load, only=chosen.only)
    sections = [section for name in chosen.what or COMPARISONS if (section := run(name, options))]
    if chosen.write:
        report.write(sections)
    if len(sections) < len(chosen.what or COMPARISONS):
        sys.exit(1)


def run(name: str, options: Options) -> Section | None:
    """One that fails does not keep the others from being measured."""
    try:
        section = COMPARISONS[name](options)
    except (LoadFailed, LocalError) as error:
        print(f"{name} could not be measured. {error}", file=sys.stderr)
        return None
    print(section.plain())
    return section


if __name__ == "__main__":
    main()
