from __future__ import annotations

import pytest

from benchmarks.ratios import Better, Ratio, complaints


def cost(value: float) -> Ratio:
    return Ratio("road", value, Better.LOWER)


def share(value: float) -> Ratio:
    return Ratio("photos", value, Better.HIGHER)


@pytest.mark.parametrize("value", [1.0, 3.0, 3.99], ids=["better", "the same", "a little worse"])
def test_a_cost_below_four_thirds_of_the_accepted_one_passes(value: float) -> None:
    assert complaints([cost(value)], {"road": 3.0}) == []


def test_a_cost_that_is_worse_by_more_than_a_third_is_named() -> None:
    assert complaints([cost(4.01)], {"road": 3.0}) == [
        "road: 4.01, accepted 3.00, allowed 4.00 (lower is better)"
    ]


@pytest.mark.parametrize("value", [2.0, 0.9, 0.61], ids=["better", "the same", "a little worse"])
def test_a_yield_above_two_thirds_of_the_accepted_one_passes(value: float) -> None:
    assert complaints([share(value)], {"photos": 0.9}) == []


def test_a_yield_that_is_worse_by_more_than_a_third_is_named() -> None:
    assert complaints([share(0.59)], {"photos": 0.9}) == [
        "photos: 0.59, accepted 0.90, allowed 0.60 (higher is better)"
    ]


def test_only_the_ratio_that_is_worse_is_named() -> None:
    found = complaints([cost(9.0), share(0.9)], {"road": 3.0, "photos": 0.9})

    assert [line.partition(":")[0] for line in found] == ["road"]


def test_a_ratio_that_nobody_accepted_is_named() -> None:
    assert complaints([cost(1.0)], {}) == ["road: was measured, is not accepted"]


def test_an_accepted_ratio_that_is_measured_no_more_is_named() -> None:
    assert complaints([], {"road": 3.0}) == ["road: is accepted, was not measured"]
