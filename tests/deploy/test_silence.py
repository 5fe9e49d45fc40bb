"""When a process that does not answer counts as hung."""

from __future__ import annotations

import pytest

from deploy.silence import (
    HUNG_AFTER_MISSES,
    HUNG_AFTER_SECONDS,
    LONGEST_LOOK_SECONDS,
    NEVER_STARTED_AFTER_SECONDS,
    Silence,
)

#: Between two questions that are not answered.
LOOK_SECONDS = 1.5


def asked_until_it_hangs(silence: Silence, now: float) -> float:
    """When that is decided, asked again and again from now on."""
    while not silence.missed(now):
        now += LOOK_SECONDS
    return now


def test_one_that_answered_and_then_misses_for_some_seconds_hangs():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    hangs = asked_until_it_hangs(silence, 11.0)

    assert 10.0 + HUNG_AFTER_SECONDS <= hangs < 10.0 + HUNG_AFTER_SECONDS + LOOK_SECONDS


def test_several_misses_within_a_short_time_say_nothing():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    assert not any(silence.missed(now=10.0 + HUNG_AFTER_SECONDS / 2) for _ in range(20))


def test_few_misses_in_a_long_time_say_nothing():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    missed = [silence.missed(10.0 + LONGEST_LOOK_SECONDS * (n + 1)) for n in range(3)]

    assert missed == [False] * (HUNG_AFTER_MISSES - 1) + [True]


@pytest.mark.parametrize("asleep", [LONGEST_LOOK_SECONDS + 0.1, 60.0, 36_000.0])
def test_time_in_which_nobody_asked_is_given_back(asleep: float):
    """Both may have been stopped for all of it, and misses before it prove nothing after it."""
    silence = Silence(now=0.0)
    silence.heard(now=10.0)
    for _ in range(HUNG_AFTER_MISSES):
        silence.missed(now=11.0)

    hangs = asked_until_it_hangs(silence, 11.0 + asleep)

    assert 10.0 + asleep + HUNG_AFTER_SECONDS - LONGEST_LOOK_SECONDS / 2 <= hangs
    assert hangs < 10.0 + asleep + HUNG_AFTER_SECONDS + LOOK_SECONDS


def test_an_answer_makes_all_misses_forgotten():
    silence = Silence(now=0.0)
    asked_until_it_hangs(silence, 0.0)
    silence.heard(now=100.0)

    assert asked_until_it_hangs(silence, 101.0) >= 100.0 + HUNG_AFTER_SECONDS


def test_one_that_never_answered_has_longer():
    silence = Silence(now=0.0)

    assert asked_until_it_hangs(silence, 1.0) >= NEVER_STARTED_AFTER_SECONDS


def test_who_always_asks_late_finds_it_some_time():
    silence, now = Silence(now=0.0), 0.0
    silence.heard(now)

    while not silence.missed(now):
        now += LONGEST_LOOK_SECONDS + 0.1

    assert now <= 5 * (LONGEST_LOOK_SECONDS + 0.1)
