"""How soon an example is followed by others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minion.host.company import Company

WINDOW = 0.08
PART = 0.01
SAVED = 0.02


def watching(watches: int = 50, *, joiners: int, after: float, waiting: int = 1) -> Company:
    """Has seen so many watches, a second apart, in each of which so many came `after` its start."""
    company = Company()
    company.set_window(WINDOW)
    for second in range(watches):
        company.arrived(waiting, float(second))
        if joiners:
            company.arrived(joiners, second + after)
        company.answered(second + WINDOW, left=0)
    company.arrived(waiting, float(watches))
    return company


def test_before_anybody_came_one_is_expected_in_a_window() -> None:
    company = watching(0, joiners=0, after=0.0)

    assert company.worth_waiting_until(1, WINDOW * 1.01, now=0.0) == pytest.approx(WINDOW)
    assert company.worth_waiting_until(1, WINDOW * 0.99, now=0.0) == -math.inf


def test_without_a_window_nobody_waits() -> None:
    company = Company()
    company.set_window(0.0)
    company.arrived(1, 5.0)
    company.answered(5.1, left=1)

    assert company.worth_waiting_until(1, 10.0, now=5.1) == -math.inf


def test_who_comes_together_is_no_company() -> None:
    company = watching(joiners=0, after=0.0, waiting=16)

    assert company.worth_waiting_until(1, SAVED, now=50.0) == -math.inf


def test_joiners_are_waited_for_as_long_as_they_usually_take() -> None:
    company = watching(joiners=3, after=2.5 * PART)

    assert company.worth_waiting_until(1, SAVED, now=50.0) == pytest.approx(50 + 3 * PART)


def test_once_they_usually_have_come_nobody_waits_on() -> None:
    company = watching(joiners=3, after=2.5 * PART)

    assert company.worth_waiting_until(4, SAVED, now=50.0 + 3 * PART) == -math.inf


def test_the_more_wait_the_more_must_come() -> None:
    company = watching(joiners=3, after=2.5 * PART)

    assert company.worth_waiting_until(3, SAVED, now=50.0) == -math.inf


def test_who_asks_again_once_answered_is_no_company() -> None:
    company = Company()
    company.set_window(WINDOW)
    for start in range(20):
        company.arrived(1, float(start))
        company.answered(start + 0.005, left=0)
        company.arrived(1, start + 0.006)
        company.answered(start + 0.011, left=0)

    company.arrived(1, 20.0)

    assert company.worth_waiting_until(1, SAVED, now=20.0) == -math.inf


def test_who_asks_again_while_others_wait_is() -> None:
    company = Company()
    company.set_window(WINDOW)
    for start in range(50):
        company.arrived(2, float(start))
        company.answered(start + 0.5, left=2)
        company.arrived(2, start + 0.505)
        company.answered(start + 0.9, left=0)

    company.arrived(2, 50.0)
    company.answered(50.5, left=2)

    assert company.worth_waiting_until(2, 1.5 * SAVED, now=50.5) == pytest.approx(50.5 + PART)


def test_new_company_is_met_within_tens_of_watches() -> None:
    company = watching(joiners=0, after=0.0)
    for second in range(51, 71):
        company.arrived(1, float(second))
        company.arrived(4, second + 0.005)
        company.answered(second + WINDOW, left=0)
    company.arrived(1, 71.0)

    assert company.worth_waiting_until(1, SAVED, now=71.0) == pytest.approx(71 + PART)


def test_what_short_watches_do_not_reach_is_not_forgotten() -> None:
    company = Company()
    company.set_window(WINDOW)
    for second in range(20_000):
        company.arrived(1, float(second))
        company.answered(second + PART / 10, left=0)
    company.arrived(1, 20_000.0)

    late = 20_000 + WINDOW - PART / 2
    assert company.worth_waiting_until(1, WINDOW * 1.01, now=late) == pytest.approx(20_000 + WINDOW)
    assert company.worth_waiting_until(1, WINDOW * 0.99, now=late) == -math.inf


def test_another_window_is_learned_anew() -> None:
    company = watching(joiners=0, after=0.0)

    company.set_window(2 * WINDOW)

    assert company.worth_waiting_until(1, 2.1 * WINDOW, now=60.0) == pytest.approx(60 + 2 * WINDOW)


@given(
    window=st.floats(1e-6, 60.0),
    events=st.lists(st.tuples(st.integers(0, 50), st.floats(0.0, 1.0)), max_size=40),
    members=st.integers(1, 100),
    saved=st.floats(0.0, 10.0),
)
def test_nobody_is_held_longer_than_the_window_allows(
    window: float, events: list[tuple[int, float]], members: int, saved: float
) -> None:
    company = Company()
    company.set_window(window)
    now = 0.0
    for count, after in events:
        now += after * window
        if count % 3:
            company.arrived(count, now)
        else:
            company.answered(now, left=count)

    until = company.worth_waiting_until(members, saved, now)

    assert until == -math.inf or until <= now + window * 1.001
