"""Waits for mails at the sink: begins when it counts, ends when all have arrived."""

import json
import socket
import sys
from typing import Any


def main(plan: dict[str, Any]) -> None:
    with socket.create_connection(("127.0.0.1", plan["control"])) as connection, connection.makefile("rw") as lines:
        lines.write(json.dumps({"count": plan["count"]}) + "\n")
        lines.flush()
        print(lines.readline(), end="", flush=True)
        connection.settimeout(plan["patience"])
        answer = json.loads(lines.readline())
    nothing = {"p50": float("nan"), "p99": float("nan"), "errors": 0}
    print(json.dumps({**nothing, **answer}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.stdin.read()))
