"""minion/host/restarts.py: when what ended is started again."""

import pytest

from minion.host.restarts import (
    BUDGET_ENDINGS,
    BUDGET_SECONDS,
    BUDGET_STARTS,
    FIRST_DELAY_SECONDS,
    LAST_DELAY_SECONDS,
    STABLE_AFTER_SECONDS,
    Budget,
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


def spend(budget: Budget, endings: int, *, every: float = 1.0, answered: int = 0) -> list[bool]:
    """Whether it was spent, after each ending."""
    spent = []
    for number in range(endings):
        budget.ended(number * every, answered=answered)
        spent.append(budget.spent)
    return spent


def test_five_endings_within_a_minute_spend_the_budget() -> None:
    assert spend(Budget(1), BUDGET_ENDINGS) == [False] * 4 + [True]


def test_endings_that_lie_further_apart_do_not() -> None:
    apart = BUDGET_SECONDS / (BUDGET_ENDINGS - 1) + 0.1

    assert not any(spend(Budget(1), 3 * BUDGET_ENDINGS, every=apart))


def test_of_slow_starters_five_endings_spend_it_within_five_times_what_a_start_takes() -> None:
    def spent(every: float) -> bool:
        budget = Budget(1)
        for number in range(BUDGET_ENDINGS):
            budget.ended(number * every, answered=0, start_seconds=BUDGET_SECONDS)
        return budget.spent

    longest = BUDGET_STARTS * BUDGET_SECONDS / (BUDGET_ENDINGS - 1)
    assert (spent(longest), spent(longest + 1.0)) == (True, False)


def test_every_place_has_a_budget_and_all_are_one() -> None:
    assert spend(Budget(2), 2 * BUDGET_ENDINGS) == [False] * 9 + [True]


def test_an_answered_batch_restores_it() -> None:
    budget = Budget(1)
    spend(budget, BUDGET_ENDINGS - 1)

    assert spend(budget, BUDGET_ENDINGS, answered=1) == [False] * 4 + [True]


def test_a_batch_that_was_answered_before_restores_nothing() -> None:
    budget = Budget(1)
    budget.ended(0.0, answered=7)

    assert spend(budget, BUDGET_ENDINGS, answered=7)[-1]


def test_once_spent_a_pause_does_not_restore_it_and_a_batch_does() -> None:
    budget = Budget(1)
    spend(budget, BUDGET_ENDINGS)

    budget.ended(10 * BUDGET_SECONDS, answered=0)
    still = budget.spent
    budget.ended(20 * BUDGET_SECONDS, answered=1)

    assert (still, budget.spent) == (True, False)
