"""The arithmetic of the benchmarks. Nothing is measured here."""

import json
import math
from collections import Counter

import pytest

from benchmarks import cpu, report, slow
from benchmarks.chat import RATES, Climb
from benchmarks.harness import LoadFailed, Options, Sample, Subject, alternate
from benchmarks.load.inapp import Readers
from benchmarks.load.receipts import bodies
from benchmarks.load.sink import Board
from benchmarks.load.sockets import Socket
from benchmarks.report import Section, Table
from benchmarks.stats import Goal, Outcome, Spread, pair_ratios, percentile


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 9.0], 0.0, 1.0),
    ],
)
def test_percentile_is_a_measured_value(values, fraction, expected):
    assert percentile(values, fraction) == expected


def test_percentile_of_nothing_is_not_a_number():
    assert math.isnan(percentile([], 0.5))


def test_ratios_compare_the_two_sides_of_one_round():
    assert pair_ratios([2.0, 9.0, math.nan, 4.0], [1.0, 3.0, 1.0, 0.0]) == [2.0, 3.0]


def test_spread_keeps_the_extremes():
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)


@pytest.mark.parametrize(
    ("goal", "ratios", "verdict"),
    [
        (Goal("P1", "", most=2.2), [2.0, 2.1, 9.0], "yes"),
        (Goal("P1", "", most=2.2), [2.3, 2.3, 0.1], "no"),
        (Goal("P3", "", least=8), [8.0], "yes"),
        (Goal("P3", "", least=8), [7.9], "no"),
        (Goal("P3", "", least=8), [], "not measured"),
    ],
)
def test_verdict_follows_the_median(goal, ratios, verdict):
    assert Outcome(goal, ratios).verdict == verdict


def test_cpu_time_of_a_sample_by_part():
    sample = Sample(operations=1000, wall=2.0, cpu={"service": 0.5, "databases": 0.25})
    assert (sample.micros("service"), sample.micros(), sample.rate) == (500.0, 750.0, 500.0)


def test_process_name_with_blanks_and_parentheses_is_read():
    line = "42 (a (b) c) S 7 1 1 0 -1 0 0 0 0 0 " + "10 20 3 4 " + "20 0 1 0"
    assert cpu.parse_stat(line) == cpu.Stat(parent=7, ticks=37)


def test_process_tree_has_grandchildren_and_nobody_else():
    table = {pid: cpu.Stat(parent, 0) for pid, parent in [(1, 0), (2, 1), (3, 2), (4, 1), (5, 3)]}
    assert cpu.tree([2], table) == {2, 3, 5}


def test_every_second_round_runs_backwards():
    order = []

    def subject(name):
        return Subject(name, lambda: order.append(name) or Sample(operations=1, wall=1.0))

    subjects = [subject("a"), subject("b")]
    alternate(subjects, Options(rounds=3), say=lambda _: None)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(one.samples) for one in subjects] == [3, 3]


def test_rounds_under_load_are_dropped_only_when_told():
    subject = Subject("a", lambda: Sample(operations=1, wall=1.0))
    alternate([subject], Options(rounds=2, max_load=-1.0), say=lambda _: None)
    assert subject.samples == []


def test_writing_one_section_leaves_the_others(tmp_path):
    page = tmp_path / "benchmarks.md"
    first, other = (Section(name, name.title(), "2 cores", 5) for name in ("gateway", "auth"))
    report.write([first, other], page)
    report.write([Section("auth", "Auth again", "2 cores", 5, figures=[("f:", Table(["a"], [["b"]]))])], page)
    text = page.read_text()
    assert "## Gateway" in text
    assert "## Auth again" in text
    assert "## Auth\n" not in text


class Steady:
    """A side that holds every rate up to its own, except those named."""

    def __init__(self, most, except_for=()):
        self.most = most
        self.except_for = except_for

    def measure(self, load):
        fine = load.rate <= self.most and load.rate not in self.except_for
        return Sample(operations=1, wall=1.0, p50=1.0, p99=1.0 if fine else 99.0)


@pytest.mark.parametrize(
    ("side", "highest"),
    [
        (Steady(1000), 1000),
        (Steady(1000, except_for=(320,)), 1000),
        (Steady(1000, except_for=(320, 400)), 250),
        (Steady(30), 30),
        (Steady(60), 60),
        (Steady(10_000), RATES[-1]),
        (Steady(1), 0),
    ],
)
def test_the_highest_rate_that_holds_is_found(side, highest):
    assert Climb(side, seconds=1.0)().rate == highest


@pytest.mark.parametrize(
    ("seconds", "limit", "closed"), [(["0", "1", "10"], 20, 10.0), (["0"], 20, 0.0), (["0", "19"], 20, math.inf)]
)
def test_slow_clients_are_gone_when_the_tool_stops_early(tmp_path, seconds, limit, closed):
    page = tmp_path / "attack.csv"
    lines = ["Seconds,Closed,Pending,Connected,Service Available", *(f"{each},0,0,20,20" for each in seconds)]
    page.write_text("\n".join(lines))
    assert slow.last_open(page, limit) == closed


def test_slow_clients_that_nobody_wrote_down_are_no_result(tmp_path):
    page = tmp_path / "attack.csv"
    page.write_text("Seconds,Closed,Pending,Connected,Service Available\n")
    with pytest.raises(LoadFailed):
        slow.last_open(page, 20)


def test_section_of_slow_clients_compares_round_by_round():
    def sample(p99, closed=0.0):
        return Sample(operations=100, wall=1.0, p50=1.0, p99=p99, extra={"closed": closed})

    names = [attack.name for attack in slow.ATTACKS]
    alone = {name: [sample(2.0), sample(4.0)] for name in names}
    beside = {name: [sample(3.0, 10.0), sample(4.0, 12.0)] for name in names}
    made = slow.section(alone, beside, 2)
    assert [outcome.ratios for outcome in made.outcomes] == [[1.5, 1.0]] * 4 + [[10.0, 12.0]]
    assert "Slow clients" in made.markdown()


def test_mail_server_counts_who_got_more_than_one():
    board = Board()
    board.arrived(b"<before@example.com>")
    board.watch()
    for name in (b"<a@example.com>", b"<b@example.com>", b"<a@example.com>", b"<before@example.com>"):
        board.arrived(name)
    assert (board.different, board.twice) == (3, 1)


@pytest.mark.parametrize("times", [1, 3])
def test_each_receipt_is_told_so_many_times(times):
    plan = {"stem": "x", "since": 1_790_000_000, "deliveries": ["a", "b"] * 200, "times": times, "number": "1"}
    values = [json.loads(body)["entry"][0]["changes"][0]["value"] for body in bodies(plan)]
    told = [(status["id"], status["status"]) for value in values for status in value["statuses"]]
    assert len(told) == 400 * 3 * times
    assert set(Counter(told).values()) == {times}


def test_name_that_comes_in_two_parts_is_heard_once():
    readers, socket = Readers(), Socket()
    readers.listen(socket)
    for part in (b'{"title":"told-7!"}{"title":"to', b"ld-12", b'!"}', b'{"title":"told-7!"}'):
        socket.on_data(part)
    assert set(readers.arrived) == {7, 12}
