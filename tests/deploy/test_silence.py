"""When a process that does not answer counts as hung."""

from __future__ import annotations

from deploy.silence import (
    HUNG_AFTER_MISSES,
    HUNG_AFTER_SECONDS,
    NEVER_STARTED_AFTER_SECONDS,
    Silence,
)

LONG = NEVER_STARTED_AFTER_SECONDS + 1


def test_one_that_answered_and_then_misses_several_times_hangs():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    missed = [silence.missed(now=10.0 + HUNG_AFTER_SECONDS) for _ in range(HUNG_AFTER_MISSES)]

    assert missed == [False] * (HUNG_AFTER_MISSES - 1) + [True]


def test_several_misses_within_a_short_time_say_nothing():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    assert not any(silence.missed(now=10.0 + HUNG_AFTER_SECONDS / 2) for _ in range(20))


def test_a_single_miss_after_a_long_time_says_nothing():
    silence = Silence(now=0.0)
    silence.heard(now=10.0)

    assert not silence.missed(now=10.0 + LONG), "whoever asks may have been stopped itself"


def test_an_answer_makes_all_misses_forgotten():
    silence = Silence(now=0.0)
    for _ in range(HUNG_AFTER_MISSES):
        silence.missed(now=LONG)
    silence.heard(now=LONG)

    assert not silence.missed(now=2 * LONG)


def test_one_that_never_answered_has_longer():
    silence = Silence(now=0.0)

    early = [silence.missed(now=2 * HUNG_AFTER_SECONDS) for _ in range(HUNG_AFTER_MISSES)]

    assert not any(early)
    assert silence.missed(now=LONG)
