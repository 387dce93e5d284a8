"""The arithmetic of limits, in Redis and in the process, beside a plain model: buckets that leak."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random  # noqa: TID251  -- seeded, so that a failure can be repeated
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.domain.gcra import SCRIPT, Charge, Limit, LocalGcra
from libs.ids import uuid7

TEXTS = ["3/s", "20/s burst 40", "7/min burst 3", "2/h", "5/10s shadow", "9/min burst 2 shadow", "1000/24h"]
LIMITS = [Limit.parse(f"limit{i}", text) for i, text in enumerate(TEXTS)]


@dataclass
class Outcome:
    refused: int
    wait: int
    tight: int
    left: int
    reset: int
    shadowed: int
    counted: int
    levels: dict[bytes, Fraction] = field(default_factory=dict)


@dataclass
class Buckets:
    """A bucket for each key. A request pours its cost in, and one cell leaks out in each step of the limit."""

    levels: dict[bytes, Fraction] = field(default_factory=dict)

    def pour(self, charges: list[Charge], many: int = 1) -> Outcome:
        levels = [self.levels.get(charge.key, Fraction(0)) for charge in charges]
        over = [level + charge.cost - charge.limit.burst for level, charge in zip(levels, charges, strict=True)]
        waits = [
            0 if charge.limit.shadow else max(0, int(each * charge.limit.step))
            for each, charge in zip(over, charges, strict=True)
        ]
        if wait := max(waits, default=0):
            first = waits.index(wait) + 1
            return Outcome(first, wait, first, 0, wait, 0, 0)
        fits = all(each + (many - 1) * charge.cost <= 0 for each, charge in zip(over, charges, strict=True))
        counted = many if fits else 1
        outcome = Outcome(0, 0, 0, 0, 0, sum(1 << i for i, each in enumerate(over) if each > 0), counted)
        for i, (charge, level) in enumerate(zip(charges, levels, strict=True), 1):
            if over[i - 1] > 0:
                continue
            after = outcome.levels[charge.key] = level + counted * charge.cost
            left = int(charge.limit.burst - after)
            if not charge.limit.shadow and (not outcome.tight or left < outcome.left):
                outcome.tight, outcome.left, outcome.reset = i, left, int(after * charge.limit.step)
        return outcome

    def leak(self, limit_of: dict[bytes, Limit], microseconds: int) -> "Buckets":
        return Buckets(
            {
                key: max(Fraction(0), level - Fraction(microseconds, limit_of[key].step))
                for key, level in self.levels.items()
            }
        )


@st.composite
def _charges(draw: st.DrawFn) -> list[Charge]:
    limits = draw(st.lists(st.sampled_from(LIMITS), unique=True, max_size=4))
    return [
        Charge(limit, b"%s:%d" % (limit.label, draw(st.integers(0, 1))), draw(st.integers(1, min(3, limit.burst))))
        for limit in limits
    ]


_PAUSES = st.sampled_from([0, 1, 999, 50_000, 333_333, 1_000_000, 30_000_000, 3_600_000_000])


@pytest.mark.promise("G12", "G14", "G40")
@given(st.lists(st.tuples(_charges(), _PAUSES), max_size=60))
def test_local_count_is_that_of_leaking_buckets(steps: list[tuple[list[Charge], int]]) -> None:
    local, model, now = LocalGcra(), Buckets(), 10**15
    limit_of = {charge.key: charge.limit for charges, _ in steps for charge in charges}
    for charges, pause in steps:
        now += pause
        model = model.leak(limit_of, pause)
        expected = model.pour(charges)
        model.levels |= expected.levels
        found = local.take(charges, now)
        assert found == (
            expected.refused,
            expected.wait,
            expected.tight,
            expected.left,
            expected.reset,
            expected.shadowed,
        )


def arguments(charges: list[Charge], many: int) -> list[int]:
    each = [(limit.step, limit.ahead, cost, int(limit.shadow)) for limit, _, cost in charges]
    return [len(charges), many, *(number for numbers in each for number in numbers)]


def some_charges(dice: Random, prefix: str) -> list[Charge]:
    limits = dice.sample(LIMITS, dice.randint(1, 4))
    return [
        Charge(
            limit,
            b"%s:%s:%d" % (prefix.encode(), limit.label, dice.randint(0, 1)),
            dice.randint(1, min(3, limit.burst)),
        )
        for limit in limits
    ]


async def microseconds(redis: Redis) -> int:
    seconds, rest = await redis.time()
    return int(seconds) * 1_000_000 + int(rest)


@pytest.mark.promise("G12", "G14", "G40")
@pytest.mark.parametrize("seed", range(4))
async def test_count_in_redis_is_that_of_leaking_buckets(redis: Redis, seed: int) -> None:
    """The clock is that of Redis, so the model says what may come out between the moment before and the one after.
    Time passes faster here by moving the stored moments back."""
    dice, prefix = Random(seed), str(uuid7())
    script = redis.register_script(SCRIPT)
    limit_of: dict[bytes, Limit] = {}
    for _ in range(150):
        charges, many = some_charges(dice, prefix), dice.choice([1, 1, 2, 10])
        keys = [charge.key for charge in charges]
        limit_of |= {charge.key: charge.limit for charge in charges}
        await move_back(redis, list(limit_of), dice.choice([0, 0, 1000, 300_000, 2_000_000, 60_000_000]))
        stored = {key: int(value or 0) for key, value in zip(keys, await redis.mget(keys), strict=True)}
        before = await microseconds(redis)
        found = Outcome(0, *[0] * 6)
        reply: list[Any] = await script(keys=keys, args=arguments(charges, many))
        after = await microseconds(redis)
        found = Outcome(*reply[:5], *reply[6:])
        kept = {key: int(value or 0) for key, value in zip(keys, await redis.mget(keys), strict=True)}
        early, late = (
            Buckets(
                {key: Fraction(max(0, stored[key] - now), limit_of[key].step) for key in keys},
            ).pour(charges, many)
            for now in (before, after)
        )
        if (early.refused, early.shadowed, early.counted) != (late.refused, late.shadowed, late.counted):
            continue  # it turned in between
        assert (found.refused, found.shadowed, found.counted) == (early.refused, early.shadowed, early.counted)
        assert late.wait <= found.wait <= early.wait
        assert early.left <= found.left <= late.left
        if (early.tight, early.left) == (late.tight, late.left):
            assert found.tight == early.tight
        for key in keys:
            if key in early.levels:
                least, most = (int(each.levels[key] * limit_of[key].step) for each in (late, early))
                assert before + least <= kept[key] <= after + most
            else:
                # Redis forgets a moment that has passed.
                assert kept[key] == stored[key] or (not kept[key] and stored[key] <= after)


async def move_back(redis: Redis, keys: list[bytes], passed: int) -> None:
    for key in keys:
        if passed and (value := await redis.get(key)) is not None:
            await redis.set(key, int(value) - passed, keepttl=True)


@pytest.mark.promise("G12")
async def test_limit_that_was_tightened_keeps_nobody_out_for_what_the_old_one_allowed(redis: Redis) -> None:
    key = f"tightened:{uuid7()}".encode()
    script = redis.register_script(SCRIPT)
    wide, tight = Limit.parse("x", "1000/24h"), Limit.parse("x", "1/h")
    await script(keys=[key], args=arguments([Charge(wide, key, 1000)], 1))
    found = [await script(keys=[key], args=arguments([Charge(tight, key)], 1)) for _ in range(2)]
    assert [refused for refused, *_ in found] == [0, 1]
    local = LocalGcra()
    local.take([Charge(wide, key, 1000)], 0)
    assert [local.take([Charge(tight, key)], 0)[0] for _ in range(2)] == [0, 1]


@pytest.mark.promise("G12")
def test_local_count_is_exact_over_time() -> None:
    limit = Limit.parse("x", "10/min")
    gcra = LocalGcra()
    charges = [Charge(limit, b"k")]
    assert [gcra.take(charges, 0)[0] for _ in range(12)] == [0] * 10 + [1, 1]
    assert gcra.take(charges, 5_999_999)[0] == 1
    assert gcra.take(charges, 6_000_000)[0] == 0
    assert gcra.take(charges, 6_000_001)[:2] == (1, 5_999_999)
    assert [gcra.take(charges, 66_000_000)[0] for _ in range(11)] == [0] * 10 + [1]


@pytest.mark.promise("G18")
def test_local_limits_are_shared_among_the_replicas() -> None:
    limit = Limit.parse("x", "10/min")
    gcra = LocalGcra(share=4)
    assert [gcra.take([Charge(limit, b"k")], 0)[0] for _ in range(5)].count(0) == 2


def test_local_memory_is_bounded() -> None:
    limit = Limit.parse("x", "10/min")
    gcra = LocalGcra(most_keys=100)
    for number in range(1000):
        assert gcra.take([Charge(limit, b"%d" % number)], 0)[0] == 0
    assert len(gcra._tats) <= 100


@pytest.mark.parametrize(
    "text",
    ["", "10", "10/day", "0/min", "x/s", "10/min burst 0", "-1/s", "5/0s", "5/s by phone", "5/s shadow by caller"],
)
def test_limit_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not {text!r}")):
        Limit.parse("ip", text)
