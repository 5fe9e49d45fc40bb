"""What a batch costs, learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minion.host.cost import STALE_AFTER_BATCHES, BatchCost


def learned(*batches: tuple[int, float]) -> BatchCost:
    cost = BatchCost()
    for size, seconds in batches:
        cost.observe(size, seconds)
    return cost


def test_nothing_is_known_at_first() -> None:
    assert BatchCost().seconds(8) == 0.0


def test_two_sizes_give_the_line() -> None:
    cost = learned((1, 0.5), (2, 0.8))

    assert [cost.seconds(size) for size in (1, 2, 4)] == pytest.approx([0.5, 0.8, 1.4])


def test_from_one_size_the_examples_are_blamed() -> None:
    assert learned((2, 0.8), (2, 0.8)).seconds(4) == pytest.approx(1.6)


def test_what_a_batch_costs_before_its_first_example() -> None:
    assert learned((1, 0.5), (2, 0.8)).fixed_seconds() == pytest.approx(0.2)


def test_of_one_size_all_may_be_fixed_and_of_none_nothing_is_known() -> None:
    assert learned((2, 0.8), (2, 0.8)).fixed_seconds() == pytest.approx(0.8)
    assert BatchCost().fixed_seconds() is None


def test_a_batch_never_gets_cheaper_by_growing() -> None:
    cost = learned((1, 0.5), (8, 0.1))

    assert cost.seconds(8) >= cost.seconds(1)


def test_a_model_that_slows_down_is_noticed_within_tens_of_batches() -> None:
    cost = learned(*[(1, 0.1)] * 1000, *[(1, 1.0)] * 100)

    assert cost.seconds(1) > 0.8


def test_a_place_becomes_free_faster_with_batches_and_workers() -> None:
    cost = learned((1, 0.5), (2, 0.8))

    assert cost.seconds_per_example(max_batch_size=1, workers=1) == pytest.approx(0.5)
    assert cost.seconds_per_example(max_batch_size=2, workers=1) == pytest.approx(0.4)
    assert cost.seconds_per_example(max_batch_size=2, workers=2) == pytest.approx(0.2)


def test_room_comes_when_all_above_the_limit_have_left_and_one_more() -> None:
    cost = learned((1, 0.5))

    waits = [
        cost.seconds_until_room(occupied=occupied, limit=4, max_batch_size=1, workers=1)
        for occupied in (4, 5, 8)
    ]

    assert waits == pytest.approx([0.5, 1.0, 2.5])


def test_room_is_guessed_before_anything_is_known() -> None:
    assert BatchCost().seconds_until_room(occupied=5, limit=4, max_batch_size=8, workers=1) == 2.0


# Batches side by side.


def test_batches_side_by_side_have_a_curve_of_their_own() -> None:
    cost = learned((1, 0.5), (2, 0.8))
    cost.observe(2, 1.6, running=2)

    assert cost.seconds(2) == pytest.approx(0.8)
    assert cost.seconds(2, running=2) == pytest.approx(1.6)
    assert cost.seconds(2, running=3) == 0.0


def test_where_so_many_never_ran_at_once_the_nearest_number_is_asked() -> None:
    cost = learned((1, 0.5), (2, 0.8))

    assert cost.fixed_seconds(running=3) == pytest.approx(0.2)
    assert cost.seconds_per_example(max_batch_size=1, workers=4) == pytest.approx(0.125)


# The size from which on growing does not pay.


def sizes(seconds: Callable[[int], float], *, rounds: int = 1) -> BatchCost:
    return learned(*[(size, seconds(size)) for size in (1, 2, 4, 8, 16)] * rounds)


@pytest.mark.parametrize(
    ("seconds", "paying"),
    [
        (lambda n: 0.01 * n, 1),
        (lambda n: 0.001 + 0.01 * n, 4),
        (lambda n: 0.5, 16),
        (lambda n: 0.01 + (0.001 * n if n <= 8 else 0.01 * n), 8),
    ],
    ids=["examples alone", "a small fixed part", "all fixed", "too large for the cache"],
)
def test_batches_grow_as_long_as_examples_get_cheaper(
    seconds: Callable[[int], float], paying: int
) -> None:
    assert sizes(seconds).paying_size(16) == paying


def test_a_size_that_is_not_known_is_tried() -> None:
    assert BatchCost().paying_size(6) == 6
    assert learned((1, 0.01), (2, 0.02)).paying_size(16) == 16


def test_below_the_best_size_the_next_smaller_is_tried() -> None:
    assert learned((16, 0.1)).paying_size(16) == 8


def test_a_size_that_was_not_seen_for_long_is_tried_again_and_that_is_seldom() -> None:
    cost = sizes(lambda n: 0.01 * n)
    taken = []
    for _ in range(10 * STALE_AFTER_BATCHES):
        size = cost.paying_size(16)
        cost.observe(size, 0.01 * size)
        taken.append(size)

    assert taken.count(1) > 0.98 * len(taken)
    assert 16 in taken


def test_a_size_that_became_cheaper_is_found() -> None:
    cost = sizes(lambda n: 0.01 * n)
    for _ in range(2 * STALE_AFTER_BATCHES):
        cost.observe(cost.paying_size(16), 0.1)

    assert cost.paying_size(16) == 16
