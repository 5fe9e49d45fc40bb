"""A device that is drawn from what batches took."""

from __future__ import annotations

import statistics

import pytest

from minion.host.dispatch import Ran
from minion.host.replay import Replay


def test_a_size_that_was_seen_takes_what_its_batches_took():
    ran = [Ran(4, seconds, 1) for seconds in (0.1, 0.5) for _ in range(10)]
    device = Replay(ran)

    drawn = {device.seconds(4, 1) for _ in range(100)}

    assert drawn == {0.1, 0.5}


def test_a_size_that_was_not_seen_lies_on_the_line():
    ran = [Ran(size, 0.2 + 0.3 * size, 1) for size in (1, 2, 3, 4) * 20]

    assert Replay(ran).seconds(8, 1) == pytest.approx(2.6, rel=0.02)


def test_it_is_off_by_as_much_as_a_batch_that_was_seen():
    ran = [Ran(size, size * off, 1) for off in (0.9, 1.1) for size in (1, 2) * 20]
    device = Replay(ran)

    drawn = [device.seconds(8, 1) / 8 for _ in range(1000)]

    assert statistics.pstdev(drawn) == pytest.approx(0.1, rel=0.3)


def test_so_many_side_by_side_as_were_never_seen_are_as_fast_as_the_nearest():
    device = Replay([Ran(1, 0.1, 1), Ran(1, 0.2, 2)])

    assert [device.seconds(1, running) for running in (1, 2, 8)] == pytest.approx([0.1, 0.2, 0.2])


def test_a_factor_makes_all_of_them_longer():
    device = Replay([Ran(1, 0.1, 1)] * 10, factor=1.2)

    assert device.seconds(1, 1) == pytest.approx(0.12)
    assert [ran.seconds for ran in device.observed()] == pytest.approx([0.12] * 10)
