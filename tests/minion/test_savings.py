"""What was saved, in device-seconds."""

from __future__ import annotations

import pytest

from minion.host.bouncer import Ending
from minion.host.savings import Savings


def test_before_anything_ran_nobody_knows_what_was_saved() -> None:
    savings = Savings()

    savings.save(Ending.EXPIRED, 10.0)

    assert not savings.seconds


def test_what_was_saved_is_in_proportion_to_its_work() -> None:
    savings = Savings()
    savings.ran(work=4.0, seconds=2.0)

    savings.save(Ending.EXPIRED, 1.0)
    savings.save(Ending.ABANDONED, 3.0)

    assert savings.seconds == {Ending.EXPIRED: 0.5, Ending.ABANDONED: 1.5}


def test_a_model_that_slowed_down_saves_more() -> None:
    savings = Savings()
    savings.ran(work=1.0, seconds=1.0)
    for _ in range(500):
        savings.ran(work=1.0, seconds=2.0)

    savings.save(Ending.ABANDONED, 1.0)

    assert savings.seconds[Ending.ABANDONED] == pytest.approx(2.0, rel=0.01)
