"""When whoever is refused should come back."""

from __future__ import annotations

import random

import pytest

from coordinator.returns import JITTER, MARGIN, MAX_SECONDS, Returns

EACH = 0.5
STEP = EACH * MARGIN


def returns() -> Returns:
    return Returns(lambda: 0.0)


def told(schedule: Returns, now: float = 100.0, *, missing: int = 1) -> float:
    return schedule.tell(now, missing=missing, seconds_each=EACH)


def test_each_is_told_of_a_place_of_its_own() -> None:
    schedule = returns()

    assert [told(schedule) for _ in range(3)] == pytest.approx([STEP, 2 * STEP, 3 * STEP])


def test_those_who_are_above_a_lowered_limit_leave_first() -> None:
    assert told(returns(), missing=4) == pytest.approx(4 * STEP)


def test_moments_that_have_passed_are_told_to_nobody() -> None:
    schedule = returns()
    for _ in range(3):
        told(schedule, 100.0)

    assert told(schedule, 200.0) == pytest.approx(STEP)


def test_asking_is_not_telling() -> None:
    schedule = returns()
    asked = [schedule.next(100.0, missing=1, seconds_each=EACH) for _ in range(2)]

    assert asked == pytest.approx([STEP, STEP])


def test_newcomers_who_take_places_move_the_schedule_on() -> None:
    schedule = returns()
    told(schedule, 100.0)
    told(schedule, 100.0)

    schedule.taken(100.1, seconds_each=EACH)

    assert told(schedule, 100.1) == pytest.approx(4 * STEP - 0.1)


def test_those_who_come_when_they_were_told_move_nothing() -> None:
    schedule = returns()
    told(schedule, 100.0)
    told(schedule, 100.0)

    schedule.taken(100.0 + STEP, seconds_each=EACH)

    assert told(schedule, 100.0 + STEP) == pytest.approx(2 * STEP)


def test_when_all_places_are_free_nobody_is_told_to_wait_for_those_who_stayed_away() -> None:
    schedule = returns()
    for _ in range(20):
        told(schedule, 100.0)

    schedule.taken(105.0, seconds_each=EACH, empty=True)

    assert told(schedule, 105.0) == pytest.approx(STEP)


def test_nobody_waits_for_more_than_a_minute_and_not_all_for_the_same_one() -> None:
    schedule = Returns(random.Random(1).random)
    moments = [told(schedule) for _ in range(1000)]

    assert max(moments) <= MAX_SECONDS
    late = moments[200:]
    assert min(late) >= MAX_SECONDS * (1 - JITTER)
    assert len(set(late)) == len(late)


def test_jitter_is_part_of_the_distance_between_two() -> None:
    schedule = Returns(lambda: 0.999)

    assert STEP < told(schedule) < STEP * (1 + JITTER)


def test_before_anything_was_measured_a_place_is_taken_to_need_a_second() -> None:
    assert returns().tell(100.0, missing=1, seconds_each=0.0) == pytest.approx(MARGIN)


@pytest.mark.parametrize("seed", range(5))
def test_after_a_burst_nearly_all_who_come_when_told_are_let_in_and_a_second_later_few(
    seed: int,
) -> None:
    assert admitted_of_the_refused(seed, constant=None) >= 0.95
    assert admitted_of_the_refused(seed, constant=1.0) < 0.2


def admitted_of_the_refused(seed: int, *, constant: float | None) -> float:
    """Sixty at once at a lane of ten, each of half a second; the refused try once more."""
    schedule, limit = Returns(random.Random(seed).random), 10
    returning = sorted(
        schedule.tell(0.0, missing=1, seconds_each=EACH) if constant is None else constant
        for _ in range(60 - limit)
    )
    busy_until = limit * EACH
    admitted = 0
    for moment in returning:
        inside = -(-(busy_until - moment) // EACH)
        if inside < limit:
            admitted += 1
            busy_until = max(busy_until, moment) + EACH
    return admitted / len(returning)
