"""When something is overdue for somebody who may have been stopped meanwhile: without a clock."""

from __future__ import annotations

import math

from minion.host.watchdog import LONGEST_LOOK_SECONDS, LOOK_SECONDS, Expectation


def looked_at(expectation: Expectation, now: float) -> float:
    """When it is found to be overdue by somebody who looks when he is told to."""
    while seconds := expectation.look(now):
        assert seconds <= LOOK_SECONDS
        now += seconds
    return now


def test_what_does_not_come_is_overdue_when_its_time_is_over_and_not_before() -> None:
    expectation = Expectation()

    expectation.begin(30.0, now=100.0)

    assert math.isclose(looked_at(expectation, 100.0), 130.0)


def test_what_has_come_is_not_looked_for() -> None:
    expectation = Expectation()
    expectation.begin(30.0, now=100.0)

    expectation.end()

    assert expectation.look(1000.0) == math.inf


def test_what_is_expected_later_has_a_time_of_its_own() -> None:
    expectation = Expectation()
    expectation.begin(30.0, now=100.0)
    expectation.end()

    expectation.begin(1.0, now=500.0)

    assert math.isclose(looked_at(expectation, 500.0), 501.0)


def test_who_slept_finds_as_much_time_left_as_there_was_but_for_a_look() -> None:
    expectation = Expectation()
    expectation.begin(30.0, now=100.0)
    for _ in range(8):
        expectation.look(100.0)

    assert expectation.look(5000.0) > 0

    assert math.isclose(looked_at(expectation, 5000.0), 5030.0 - LOOK_SECONDS)


def test_who_slept_twice_has_lost_two_looks() -> None:
    expectation = Expectation()
    expectation.begin(1.0, now=0.0)

    expectation.look(60.0)
    expectation.look(120.0)

    assert math.isclose(looked_at(expectation, 120.0), 121.0 - 2 * LOOK_SECONDS)


def test_who_is_always_late_by_more_finds_it_some_time() -> None:
    expectation, looks = Expectation(), 0
    expectation.begin(1.0, now=0.0)

    while expectation.look(looks * (LONGEST_LOOK_SECONDS + 0.1)):
        looks += 1

    assert looks <= 1.0 / LOOK_SECONDS + 1


def test_who_is_only_late_has_not_slept() -> None:
    """Or one who hangs would never be found by a host that is busy."""
    expectation, now = Expectation(), 0.0
    expectation.begin(3.0, now)

    while expectation.look(now):
        now += LONGEST_LOOK_SECONDS

    assert now <= 3.0 + LONGEST_LOOK_SECONDS
