"""When a queue stands, and what is let in then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from statistics import quantiles

import pytest

from minion.host.dispatch import Ran
from minion.host.promise import Basis
from minion.host.simulation import Arrival, Outcome, Setting, simulate
from minion.host.standing import Standing, standing_limit
from wire.flows import Flow
from wire.tuning import Tuning

#: A batch of n takes 30 ms and 10 ms for each: 73 a second in batches of eight.
FIXED, EACH, BATCH = 0.03, 0.01, 8
CAPACITY = BATCH / (FIXED + EACH * BATCH)


def test_a_queue_stands_that_was_full_so_long_ago_and_never_empty_since():
    queue = Standing()

    queue.full(10.0, emptied=3)
    queue.full(10.5, emptied=3)

    assert not queue.lasts(10.9, emptied=3, seconds=1.0)
    assert queue.lasts(11.0, emptied=3, seconds=1.0)
    assert not queue.lasts(20.0, emptied=4, seconds=1.0)


def test_it_stands_from_when_it_was_full_again():
    queue = Standing()
    queue.full(10.0, emptied=3)

    queue.full(13.0, emptied=4)

    assert not queue.lasts(13.9, emptied=4, seconds=1.0)
    assert queue.lasts(14.0, emptied=4, seconds=1.0)


def test_a_queue_that_was_never_full_does_not_stand():
    assert not Standing().lasts(1e9, emptied=0, seconds=1.0)


@pytest.mark.parametrize(
    ("limit", "let_in"), [(73, 24), (24, 24), (10, 10), (800, 100)], ids=lambda each: str(each)
)
def test_workers_have_work_for_as_long_as_the_next_batch_takes_to_fill(limit: int, let_in: int):
    basis = Basis(1, BATCH, 0.04, 0.11, 0.0, 0.0, 0.0)

    assert standing_limit(limit, basis) == let_in


class Arithmetic:
    def seconds(self, size: int, running: int) -> float:
        return FIXED + EACH * size

    def observed(self) -> Sequence[Ran]:
        return [Ran(size, self.seconds(size, 1), 1) for size in (1, 2, 4, 8)]


def poisson(*phases: tuple[float, float], callers: int = 1) -> Iterator[Arrival]:
    """Of so many times the capacity for so many seconds, one after the other."""
    draw = random.Random(5)
    at = ends = 0.0
    for factor, seconds in phases:
        ends += seconds
        while (at := at + draw.expovariate(factor * CAPACITY)) < ends:
            yield Arrival(at, 100, flow=Flow(0, draw.randrange(callers), 1.0))
        at = ends


def replayed(arrivals: Iterator[Arrival], promise: float = 1.0) -> Outcome:
    tuning = Tuning(None, BATCH, 0.005, 0, promise)
    return simulate(arrivals, Setting(tuning), Arithmetic())


def p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[-1]


def test_after_an_overload_everything_is_as_it_was_two_seconds_later():
    calm = replayed(poisson((0.9, 60)))
    flooded = list(poisson((0.9, 20), (10, 20), (0.9, 60)))

    outcome = replayed(iter(flooded))

    after = sum(arrival.at >= 42 for arrival in flooded)
    assert p99(outcome.seconds[-after:]) < 1.5 * p99(calm.seconds)
    assert outcome.limit > 60  # as much as the promise allows


@pytest.mark.parametrize("factor", [1.1, 2, 10])
def test_a_short_queue_keeps_the_workers_busy(factor: float):
    outcome = replayed(poisson((factor, 60)))

    assert len(outcome.seconds) > 0.98 * CAPACITY * 60
    assert p99(outcome.seconds) < 1.05


def test_a_burst_is_let_in_as_far_as_the_promise_goes():
    many = [Arrival(0.0, 100)] * 200

    one = replayed(iter(many))
    two = replayed(iter([*many, *(each._replace(at=3.0) for each in many)]))

    assert one.limit > 60
    assert len(two.seconds) == len(one.seconds) + one.limit


@pytest.mark.parametrize("callers", [5, 20])
def test_the_promise_is_kept_to_many_callers_who_all_ask_for_more_than_their_share(callers: int):
    outcome = replayed(poisson((2.75, 60), callers=callers), promise=0.5)

    assert p99(outcome.seconds) < 1.1 * 0.5


class Stalling(Arithmetic):
    """One batch takes so long that everybody else gives up."""

    def __init__(self, at: int) -> None:
        self.batches = 0
        self.at = at

    def seconds(self, size: int, running: int) -> float:
        self.batches += 1
        return 5.0 if self.batches == self.at else super().seconds(size, running)


def test_where_all_who_wait_give_up_the_queue_stands_no_longer():
    flood = [each._replace(timeout_seconds=1.5) for each in poisson((10, 5))]
    burst = [Arrival(60.0, 100)] * 200
    setting = Setting(Tuning(None, BATCH, 0.005, 0, 1.0))

    before = simulate(flood, setting, Stalling(at=40))
    both = simulate([*flood, *burst], setting, Stalling(at=40))

    assert before.expired > 0
    assert len(both.seconds) - len(before.seconds) > 60
