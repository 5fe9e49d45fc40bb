"""minion/host/restarts.py: when what ended is started again."""

import pytest

from minion.host.restarts import (
    FIRST_DELAY_SECONDS,
    LAST_DELAY_SECONDS,
    STABLE_AFTER_SECONDS,
    RestartDelay,
    describe_ending,
    is_stable,
)


def test_processes_that_prove_nothing_are_started_with_growing_delays_up_to_a_limit() -> None:
    delay = RestartDelay()

    delays = [delay.after(proved=False) for _ in range(12)]

    assert delays[:4] == [0.1, 0.2, 0.4, 0.8] == [FIRST_DELAY_SECONDS * 2**i for i in range(4)]
    assert delays[-1] == 30.0 == LAST_DELAY_SECONDS


def test_after_one_that_proved_itself_the_delays_begin_anew() -> None:
    delay = RestartDelay()
    delay.after(proved=False)

    assert [delay.after(proved=proved) for proved in (True, True, False)] == [0.1, 0.1, 0.2]


def test_after_a_long_life_the_delay_begins_anew() -> None:
    delay = RestartDelay()
    for _ in range(5):
        delay.after(proved=is_stable(0.0))

    assert delay.after(proved=is_stable(STABLE_AFTER_SECONDS + 1)) == FIRST_DELAY_SECONDS


@pytest.mark.parametrize(
    ("status", "words"), [(3, "ended with status 3"), (-9, "killed by signal 9")]
)
def test_an_ending_is_told_in_words(status: int, words: str) -> None:
    assert describe_ending(status) == words
