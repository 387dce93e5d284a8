"""`./parley bench`: the comparisons, one after the other."""

import argparse
import sys
from collections.abc import Callable

from benchmarks import auth, chat, gateway, report
from benchmarks.harness import Options
from benchmarks.report import Section

COMPARISONS: dict[str, Callable[[Options], Section]] = {
    "gateway": gateway.compare,
    "chat": chat.compare,
    "auth": auth.compare,
}


def main() -> None:
    parser = argparse.ArgumentParser("parley bench", description="Parley beside its peers, on this machine.")
    parser.add_argument("what", nargs="*", choices=[*COMPARISONS, []], help="gateway, chat, auth; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default 5)")
    parser.add_argument("--quick", action="store_true", help="short measurements: a look, not a result")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--max-load", type=float, help="drop rounds that end with a higher load average")
    chosen = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("Benchmarks read CPU times from /proc, which only Linux has.")
    if chosen.write and (chosen.quick or chosen.rounds < 5):
        sys.exit("Only results of five full rounds or more are written.")
    options = Options(chosen.rounds, quick=chosen.quick, max_load=chosen.max_load)
    sections = []
    for name in chosen.what or COMPARISONS:
        sections.append(COMPARISONS[name](options))
        print(sections[-1].plain())
    if chosen.write:
        report.write(sections)


if __name__ == "__main__":
    main()
