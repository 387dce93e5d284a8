import io
import json
from pathlib import Path

import pytest

from deploy.local.errors import LocalError
from deploy.local.logs import Follower, Painter, complaints, show, time_of


def entry(time: str, event: str, **fields: object) -> str:
    return json.dumps(
        {"timestamp": f"2026-11-20T{time}Z", "level": "info", "event": event, "service": "auth", **fields}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "auth.log").write_text(
        f"{entry('14:04:30.000001', 'second', user_id=7)}\n{entry('14:04:32.000002', 'last')}\n"
    )
    (tmp_path / "postgres.log").write_text("2026-11-20 14:04:29.123 UTC LOG:  first\n\tof two lines\n")
    (tmp_path / "valkey.log").write_text("812:M 20 Nov 2026 14:04:31.456 * third\n")
    (tmp_path / "auth.old.log").write_text("put aside\n")
    return tmp_path


def test_lines_of_all_processes_are_in_order_of_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(folder, only=None, lines=100, follow=False)
    assert capsys.readouterr().out.splitlines() == [
        "postgres | 2026-11-20 14:04:29.123 UTC LOG:  first",
        "postgres | \tof two lines",
        "auth     | 14:04:30.000 info    second user_id=7",
        "valkey   | 812:M 20 Nov 2026 14:04:31.456 * third",
        "auth     | 14:04:32.000 info    last",
    ]


def test_one_process_and_its_last_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(folder, only="auth", lines=1, follow=False)
    assert capsys.readouterr().out == "auth | 14:04:32.000 info    last\n"


def test_unknown_process_names_those_that_are(folder: Path) -> None:
    with pytest.raises(LocalError, match=r"no log of ghost yet\. There are: auth, postgres, valkey"):
        show(folder, only="ghost", lines=1, follow=False)


def test_follower_reads_whole_lines_that_are_added(folder: Path) -> None:
    lines: list[tuple[str, str]] = []
    follower = Follower(folder, None, lambda name, line: lines.append((name, line)))
    follower.read()
    assert lines == []
    with (folder / "valkey.log").open("a") as log:
        log.write("whole\nha")
        log.flush()
        follower.read()
        assert lines == [("valkey", "whole")]
        log.write("lf\n")
    (folder / "chat.log").write_text("new file\n")
    follower.read()
    assert lines[1:] == [("chat", "new file"), ("valkey", "half")]


def test_follower_begins_anew_when_a_log_was_put_aside(folder: Path) -> None:
    lines: list[str] = []
    follower = Follower(folder, "auth", lambda _, line: lines.append(line))
    (folder / "auth.log").write_text("anew\n")
    follower.read()
    assert lines == ["anew"]


def test_traceback_of_an_entry_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    Painter(["auth"], out).write("auth", entry("14:04:30.000001", "failed", exception="Traceback\n  ValueError"))
    assert out.getvalue() == "auth | 14:04:30.000 info    failed\nTraceback\n  ValueError\n"


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    Painter(["auth"], out).write("auth", "plain")
    assert out.getvalue() == "\033[36mauth\033[0m | plain\n"
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    Painter(["auth"], out).write("auth", "plain")
    assert out.getvalue() == "auth | plain\n"


@pytest.mark.parametrize(
    "line", ["", "{", '{"a": 1}', "[1]", "no time here at all", "Traceback (most recent call last):"]
)
def test_lines_without_a_time_have_none(line: str) -> None:
    assert time_of(line) is None


def test_complaints_are_warnings_and_lines_of_others(tmp_path: Path) -> None:
    lines = [
        entry("14:04:29.000001", "fine"),
        entry("14:04:30.000001", "failed", level="error", exception="Traceback\n  in work\nValueError: 1"),
        "Killed",
    ]
    (tmp_path / "chat.log").write_text("\n".join(lines) + "\n")
    assert complaints(tmp_path) == ["chat | 14:04:30.000 error   failed ValueError: 1", "chat | Killed"]
