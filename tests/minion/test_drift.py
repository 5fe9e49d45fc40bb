"""What deviates, and what has changed. Batches come from a simulated worker."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

from minion.host.cost import BatchCost
from minion.host.promise import limit_of

PROMISE = 5.0
Model = Callable[[random.Random], float]


def steady(chance: random.Random) -> float:
    return chance.gauss(0.5, 0.003)


def two_kinds(chance: random.Random) -> float:
    """Seven of ten take a quarter of a second, the others five times as long."""
    return 0.25 * (5.0 if chance.random() < 0.3 else 1.0)


def with_outliers(chance: random.Random) -> float:
    """One in a hundred takes a hundred times as long."""
    return 50.0 if chance.random() < 0.01 else steady(chance)


class Simulated:
    """One worker that is never idle, and a limit that follows."""

    def __init__(self, model: Model, seed: int) -> None:
        self.cost = BatchCost()
        self.speed = 1.0
        self._chance = random.Random(seed)
        self._model = model

    def run(self, batches: int) -> list[int]:
        """The limit after each batch."""
        limits = []
        for _ in range(batches):
            self.cost.observe(1, self._model(self._chance) / self.speed)
            limits.append(self.limit)
        return limits

    def run_for(self, seconds: float) -> None:
        """Batches, as long as they end within so many seconds."""
        while (taken := self._model(self._chance) / self.speed) <= seconds:
            self.cost.observe(1, taken)
            seconds -= taken

    @property
    def limit(self) -> int:
        known = self.cost.basis(max_batch_size=1, workers=1, delay_seconds=0.0)
        return limit_of(PROMISE, known)


SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_steady_model_gets_what_the_arithmetic_says_and_keeps_it(seed: int) -> None:
    model = Simulated(steady, seed)
    model.run(30)

    assert set(model.run(2000)) == {10}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_batches_are_not_trusted_further_than_they_go(seed: int) -> None:
    limits = Simulated(steady, seed).run(30)

    assert limits[0] <= 7
    assert limits[-1] == 10


@pytest.mark.parametrize("seed", SEEDS)
def test_outliers_move_the_limit_by_two_at_most(seed: int) -> None:
    model = Simulated(with_outliers, seed)
    model.run(50)

    limits = model.run(2000)

    assert min(limits) >= 8
    assert statistics.median(limits) == 10


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_kinds_of_inputs_the_slow_ones_count(seed: int) -> None:
    """The mean is 0.55 s, which alone would make 9 of 5 s."""
    model = Simulated(two_kinds, seed)
    model.run(100)
    limits = model.run(2000)

    assert 3 <= sum(limits) / len(limits) <= 6
    assert max(limits) <= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_at_half_the_speed_the_limit_is_half_within_ten_seconds(seed: int) -> None:
    model = Simulated(steady, seed)
    model.run(200)

    model.speed = 0.5
    model.run_for(10.0)

    assert model.limit == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_when_the_speed_is_back_so_is_the_limit(seed: int) -> None:
    model = Simulated(steady, seed)
    model.run(200)
    model.speed = 0.5
    model.run(20)

    model.speed = 1.0
    model.run_for(10.0)

    assert model.limit == 10


def test_a_change_of_speed_is_seen_among_two_kinds_of_inputs_too() -> None:
    def slowed(seed: int) -> float:
        model = Simulated(two_kinds, seed)
        model.run(200)
        before = model.cost.seconds(1)
        model.speed = 0.5
        model.run(40)
        return model.cost.seconds(1) / before

    assert 1.5 < statistics.median(map(slowed, SEEDS)) < 2.5


def test_a_size_that_was_not_seen_yet_is_no_change_of_speed() -> None:
    cost = BatchCost()
    for _ in range(50):
        cost.observe(8, 0.1)

    for _ in range(5):
        cost.observe(1, 0.1)

    assert cost.seconds(8) == pytest.approx(0.1, rel=0.1)
    assert cost.seconds(1) == pytest.approx(0.1, rel=0.1)


def test_two_that_are_far_off_are_chance_and_three_are_a_change() -> None:
    cost = BatchCost()
    for _ in range(100):
        cost.observe(1, 0.1)

    cost.observe(1, 0.2)
    cost.observe(1, 0.2)
    assert cost.seconds(1) < 0.11
    cost.observe(1, 0.2)
    assert cost.seconds(1) == pytest.approx(0.2, rel=0.02)


def test_what_slows_down_one_batch_slows_down_two_side_by_side() -> None:
    cost = BatchCost()
    for _ in range(100):
        cost.observe(1, 0.1)
        cost.observe(1, 0.15, running=2)

    for _ in range(3):
        cost.observe(1, 0.2)

    assert cost.seconds(1, running=2) == pytest.approx(0.3, rel=0.05)


def test_a_device_that_became_ten_times_slower_is_believed_in_steps() -> None:
    cost = BatchCost()
    for _ in range(100):
        cost.observe(1, 0.1)

    for _ in range(12):
        cost.observe(1, 1.0)

    assert cost.seconds(1) == pytest.approx(1.0, rel=0.1)
