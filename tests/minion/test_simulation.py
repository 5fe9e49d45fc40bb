"""The simulator against what queueing theory, and plain arithmetic, say."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import pytest

from minion.host.dispatch import Ran
from minion.host.simulation import Arrival, Outcome, Setting, simulate
from wire.flows import Flow
from wire.tuning import Tuning


class Arithmetic:
    """A batch of n takes `fixed + each * n` seconds, however many run side by side."""

    def __init__(self, fixed: float, each: float, *, learned: bool = True) -> None:
        self.fixed, self.each, self.learned = fixed, each, learned

    def seconds(self, size: int, running: int) -> float:
        return self.fixed + self.each * size

    def observed(self) -> Sequence[Ran]:
        sizes = (1, 2, 4, 8) if self.learned else ()
        return [Ran(size, self.seconds(size, 1), 1) for size in sizes]


def poisson(rate: float, count: int, seed: int = 1) -> Iterator[Arrival]:
    draw = random.Random(seed)
    at = 0.0
    for _ in range(count):
        at += draw.expovariate(rate)
        yield Arrival(at, 100)


def setting(limit: int, batch: int = 1, delay: float = 0.0, **other: int) -> Setting:
    return Setting(Tuning(limit, batch, delay, 0), **other)


def mean(outcome: Outcome) -> float:
    return sum(outcome.seconds) / len(outcome.seconds)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_at_a_time_waits_as_long_as_in_an_md1_queue(load: float):
    outcome = simulate(poisson(load / 0.01, 40_000), setting(10**6), Arithmetic(0.01, 0.0))

    # Pollaczek and Khinchine, of a service that always takes the same.
    assert mean(outcome) == pytest.approx(0.01 * (1 + load / (2 * (1 - load))), rel=0.05)
    assert outcome.busy_seconds / outcome.ended == pytest.approx(load, rel=0.02)


def test_a_full_queue_refuses_as_many_as_the_device_cannot_serve():
    # Twice what it can: in batches of 8 in 0.11 s.
    capacity = 8 / 0.11
    outcome = simulate(poisson(2 * capacity, 40_000), setting(64, batch=8), Arithmetic(0.03, 0.01))

    assert outcome.refused / outcome.arrived == pytest.approx(0.5, rel=0.03)
    assert outcome.batches[8] > 0.99 * outcome.batches.total()
    # Who is let in finds about 63 before himself, of whom up to 8 run already.
    assert max(outcome.seconds) <= 9 * 0.11  # one batch more: now and then a smaller one is tried
    assert mean(outcome) > 7 * 0.11


def test_nobody_is_lost_and_nobody_counted_twice():
    arrivals = [each._replace(timeout_seconds=0.2) for each in poisson(150, 10_000)]

    outcome = simulate(arrivals, setting(1000, batch=8), Arithmetic(0.03, 0.01))

    assert outcome.arrived == 10_000
    assert outcome.expired > 0
    assert sum(size * count for size, count in outcome.batches.items()) == len(outcome.seconds)


def test_the_expired_never_reach_the_device():
    arrivals = [Arrival(0.0, 100, 0.15) for _ in range(5)]

    outcome = simulate(arrivals, setting(10), Arithmetic(0.1, 0.0, learned=False))

    assert list(outcome.seconds) == pytest.approx([0.1, 0.2])
    assert outcome.expired == 3
    assert outcome.busy_seconds == pytest.approx(0.2)


def test_the_queue_limit_counts_those_who_run():
    outcome = simulate([Arrival(0.0)] * 11, setting(10), Arithmetic(0.5, 0.0))

    assert outcome.refused == 1
    assert max(outcome.seconds) == pytest.approx(5.0)


def test_a_batch_is_full_or_its_window_closes():
    two = [Arrival(0.0), Arrival(0.004)]
    device = Arithmetic(0.1, 0.0, learned=False)

    outcome = simulate(two, setting(10, batch=8, delay=0.005), device)

    assert outcome.batches == {2: 1}
    assert list(outcome.seconds) == pytest.approx([0.105, 0.101])


def test_those_who_come_at_one_moment_go_together():
    device = Arithmetic(0.2, 0.3)

    outcome = simulate([Arrival(0.0)] * 2, setting(10, batch=8), device)

    assert outcome.batches == {2: 1}
    assert list(outcome.seconds) == pytest.approx([0.8, 0.8])


def test_two_machines_take_one_each():
    outcome = simulate([Arrival(0.0)] * 2, setting(10, batch=8, machines=2), Arithmetic(0.2, 0.3))

    assert outcome.batches == {1: 2}
    assert list(outcome.seconds) == pytest.approx([0.5, 0.5])


def test_examples_of_different_sizes_never_share_a_batch():
    arrivals = [Arrival(0.0, 100), Arrival(0.0, 200), Arrival(0.0, 100)]

    outcome = simulate(arrivals, setting(10, batch=8), Arithmetic(0.2, 0.3))

    assert outcome.batches == {2: 1, 1: 1}


def test_an_interactive_caller_goes_before_a_bulk_of_another():
    bulk = [Arrival(0.0, 100, math.inf, Flow(1, 1)) for _ in range(10)]
    photo = Arrival(0.01, 100, math.inf, Flow(0, 2))

    outcome = simulate([*bulk, photo], setting(100), Arithmetic(0.2, 0.0, learned=False))

    # Answered in the order in which they ran: its turn is second.
    assert outcome.seconds[1] == pytest.approx(0.39)


def test_machines_share_the_load():
    one = simulate(poisson(50, 20_000), setting(10**6), Arithmetic(0.01, 0.0))
    four = simulate(poisson(200, 80_000), setting(10**6, machines=4), Arithmetic(0.01, 0.0))

    assert four.busy_seconds / (4 * four.ended) == pytest.approx(0.5, rel=0.03)
    assert mean(four) < mean(one)  # the shortest queue beats one of one's own


def test_coordinators_that_hear_late_of_each_other_are_refused_by_the_host_or_wait_longer():
    alone, many = (
        simulate(
            poisson(3000, 60_000),
            setting(8, machines=40, coordinators=coordinators),
            Arithmetic(0.01, 0.0),
        )
        for coordinators in (1, 20)
    )

    assert alone.refused == 0
    assert mean(many) > mean(alone)


def test_the_same_arrivals_have_the_same_outcome():
    first, second = (
        simulate(poisson(60, 5_000), setting(64, batch=8, delay=0.005), Arithmetic(0.03, 0.01))
        for _ in range(2)
    )

    assert first.seconds == second.seconds
