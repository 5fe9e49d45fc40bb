"""A promise in seconds, as a count."""

from __future__ import annotations

import math

import pytest

from minion.host.promise import TOLERANCE, Basis, answered_within, limit_of


def basis(
    alone: float = 0.5,
    full: float | None = None,
    *,
    workers: int = 1,
    batch_size: int = 1,
    deviation: float = 0.0,
    uncertainty: float = 0.0,
    delay: float = 0.0,
) -> Basis:
    full = alone if full is None else full
    return Basis(workers, batch_size, alone, full, deviation, uncertainty, delay)


def test_batches_of_half_a_second_make_ten_of_five_seconds() -> None:
    assert limit_of(5.0, basis()) == 10
    assert limit_of(5.0, basis(0.501)) == 10
    assert limit_of(5.0, basis(1.0)) == 5


def test_two_workers_answer_twice_as_many() -> None:
    assert limit_of(5.0, basis(workers=2)) == 20


@pytest.mark.parametrize(
    ("examples", "seconds"),
    [
        pytest.param(1, 0.5, id="one alone"),
        pytest.param(2, 1.0, id="the second comes when the first has just begun"),
        pytest.param(3, 1.3, id="the first runs, and two behind it in one batch"),
        pytest.param(5, 0.5 + 0.8 + 0.8, id="the first runs, four in two batches"),
    ],
)
def test_at_worst_all_others_wait_for_a_batch_of_one(examples: int, seconds: float) -> None:
    assert answered_within(examples, basis(0.5, 0.8, batch_size=2)) == pytest.approx(seconds)


def test_a_batch_that_is_not_full_may_be_held_open() -> None:
    held = basis(0.5, 2.6, batch_size=8, delay=0.1)

    assert answered_within(1, held) == pytest.approx(0.6)
    assert answered_within(8, basis(0.5, 2.6, batch_size=8)) == pytest.approx(0.5 + 0.2 + 0.3 * 7)


def test_what_batches_deviate_evens_out_and_what_is_uncertain_does_not() -> None:
    deviating, uncertain = basis(deviation=0.1), basis(uncertainty=0.1)

    assert answered_within(1, deviating) == pytest.approx(0.5 * 1.233)
    assert answered_within(100, deviating) == pytest.approx(50 * 1.0233)
    assert answered_within(100, uncertain) == pytest.approx(50 * 1.233)


def test_the_more_deviate_the_fewer_are_let_in() -> None:
    limits = [limit_of(5.0, basis(deviation=deviation)) for deviation in (0.0, 0.2, 0.8)]

    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == 3


def test_the_limit_is_the_largest_that_keeps_the_promise() -> None:
    for seconds in (0.0013, 0.02, 0.31):
        known = basis(seconds, 3 * seconds, workers=3, batch_size=8, deviation=0.3)
        limit = limit_of(1.0, known)

        assert answered_within(limit, known) <= 1.0 * (1 + TOLERANCE)
        assert answered_within(limit + 1, known) > 1.0 * (1 + TOLERANCE)


def test_one_is_let_in_whatever_it_takes() -> None:
    assert limit_of(0.1, basis(10.0)) == 1


def test_before_anything_was_measured_nobody_waits_for_a_batch_of_unknown_length() -> None:
    assert limit_of(5.0, basis(0.0, workers=3, batch_size=8)) == 3


def test_of_a_model_that_takes_no_time_there_is_a_limit_all_the_same() -> None:
    assert limit_of(3600.0, basis(1e-9)) == 1_000_000
    assert math.isfinite(answered_within(1_000_000, basis(1e-9)))
