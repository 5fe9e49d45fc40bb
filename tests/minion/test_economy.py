"""When waiting for company pays, and into what batches those who wait are parted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minion.host.company import Company
from minion.host.cost import BatchCost
from minion.host.economy import Economy

WINDOW = 0.005


def learned(*, fixed: float, each: float, joiners: int) -> Economy:
    """A device of `fixed + each * n` seconds, and one after another so many soon join; at 100 s."""
    cost, company = BatchCost(), Company()
    company.set_window(WINDOW)
    for size in (1, 2, 8):
        cost.observe(size, fixed + each * size)
    for second in range(100):
        company.arrived(1, float(second))
        for joiner in range(1, joiners + 1):
            company.arrived(1, second + WINDOW * joiner / (joiners + 1))
        company.answered(second + WINDOW, left=0)
    company.arrived(1, 100.0)
    return Economy(cost, company)


def test_before_anything_has_run_the_window_is_the_operators() -> None:
    assert (
        Economy(BatchCost(), Company()).worth_waiting_until(
            1, idle_workers=1, busy_workers=0, now=10.0
        )
        == math.inf
    )


def test_company_that_saves_much_is_waited_for() -> None:
    economy = learned(fixed=0.2, each=0.3, joiners=1)

    assert economy.worth_waiting_until(1, idle_workers=1, busy_workers=0, now=100.0) > 100.0


def test_company_that_saves_little_is_not() -> None:
    economy = learned(fixed=0.0001, each=0.3, joiners=1)

    assert economy.worth_waiting_until(1, idle_workers=1, busy_workers=0, now=100.0) == -math.inf


def test_without_company_nothing_is_waited_for() -> None:
    economy = learned(fixed=0.2, each=0.3, joiners=0)

    assert economy.worth_waiting_until(1, idle_workers=1, busy_workers=0, now=100.0) == -math.inf


def test_the_more_are_waiting_the_sooner_they_leave() -> None:
    economy = learned(fixed=0.005, each=0.0, joiners=4)

    moments = [
        economy.worth_waiting_until(members, idle_workers=1, busy_workers=0, now=100.0)
        for members in range(1, 9)
    ]

    assert moments == sorted(moments, reverse=True)
    assert moments[0] > 100.0 > moments[-1]


def test_with_another_worker_idle_nobody_waits() -> None:
    economy = learned(fixed=0.2, each=0.3, joiners=1)

    assert economy.worth_waiting_until(1, idle_workers=2, busy_workers=0, now=100.0) == -math.inf


# Sharing.


def shared_by(*, fixed: float, each: float, slower: float = 1.0) -> Economy:
    """Two workers; side by side, each takes `slower` times as long."""
    cost = BatchCost()
    for size in (1, 2, 4, 8):
        cost.observe(size, fixed + each * size)
        cost.observe(size, slower * (fixed + each * size), running=2)
    return Economy(cost, Company())


def test_before_anything_has_run_shares_are_even() -> None:
    economy = Economy(BatchCost(), Company())

    assert economy.share(8, 32, idle_workers=2, free_in=[]) == 4
    assert economy.share(5, 32, idle_workers=2, free_in=[]) == 3
    assert economy.share(2, 32, idle_workers=4, free_in=[]) == 1


def test_workers_with_a_core_each_share() -> None:
    economy = shared_by(fixed=0.01, each=0.01)

    assert economy.share(8, 8, idle_workers=2, free_in=[]) == 4


def test_workers_that_slow_each_other_down_do_not() -> None:
    economy = shared_by(fixed=0.01, each=0.01, slower=2.0)

    assert economy.share(8, 8, idle_workers=2, free_in=[]) == 8


def test_what_does_not_fit_into_one_batch_is_shared() -> None:
    economy = shared_by(fixed=0.1, each=0.001)

    assert economy.share(12, 8, idle_workers=2, free_in=[]) == 6


def test_some_are_left_for_a_worker_that_is_soon_free() -> None:
    economy = shared_by(fixed=0.01, each=0.01)

    assert economy.share(8, 8, idle_workers=1, free_in=[0.001]) == 4


@pytest.mark.parametrize(
    ("fixed", "free_in"), [(0.01, 1.0), (0.5, 0.1)], ids=["free too late", "a batch more is dear"]
)
def test_beside_a_busy_worker_the_only_idle_one_may_take_all(fixed: float, free_in: float) -> None:
    assert shared_by(fixed=fixed, each=0.01).share(8, 8, idle_workers=1, free_in=[free_in]) == 8


def test_no_batch_is_larger_than_it_pays() -> None:
    economy = shared_by(fixed=0.0, each=0.01)

    assert economy.share(8, 8, idle_workers=1, free_in=[]) == 1


# Ahead of its turn.


def test_a_batch_that_does_not_pay_to_grow_may_go_ahead() -> None:
    assert shared_by(fixed=0.0, each=0.01).ahead(8, busy_workers=1) == 1
    assert shared_by(fixed=0.01, each=0.0001).ahead(8, busy_workers=2) == 8


def test_what_takes_long_stays_where_it_can_be_taken_back() -> None:
    assert shared_by(fixed=0.2, each=0.3).ahead(2, busy_workers=1) is None


def test_what_may_take_long_does_too() -> None:
    assert Economy(BatchCost(), Company()).ahead(8, busy_workers=1) is None


@given(
    waiting=st.integers(1, 100),
    limit=st.integers(1, 64),
    idle=st.integers(1, 4),
    free_in=st.lists(st.floats(0.0, 10.0), max_size=3),
    batches=st.lists(
        st.tuples(st.integers(1, 64), st.floats(1e-6, 10.0), st.integers(1, 7)), max_size=30
    ),
)
def test_whatever_was_learned_a_share_is_a_batch(
    waiting: int, limit: int, idle: int, free_in: list[float], batches: list[tuple[int, float, int]]
) -> None:
    cost = BatchCost()
    for size, seconds, running in batches:
        cost.observe(size, seconds, running=running)

    economy = Economy(cost, Company())

    assert 1 <= economy.share(waiting, limit, idle_workers=idle, free_in=free_in) <= limit
    assert 1 <= (economy.ahead(limit, busy_workers=len(free_in) + 1) or 1) <= limit
