"""What a batch costs, learned."""

from __future__ import annotations

import pytest

from minion.host.cost import BatchCost


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
