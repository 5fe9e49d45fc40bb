"""Who waits for which answer, and what becomes of those who wait too long."""

from __future__ import annotations

import math
import time

import pytest
from stage import eventually

from coordinator.errors import DeadlineExceeded, NotServing
from coordinator.outstanding import Outstanding, Waiting


def nobody(_: int) -> None:
    pytest.fail("nobody was late")


async def test_an_answer_goes_to_whoever_asked_once():
    outstanding, told = Outstanding(nobody), []
    outstanding.expect(1, Waiting(told.append, math.inf))
    outstanding.expect(2, Waiting(lambda _: pytest.fail("asked something else"), math.inf))

    outstanding.settle(1, "a cat")
    outstanding.settle(1, "a dog")

    assert told == ["a cat"]


async def test_whoever_is_forgotten_is_told_nothing():
    outstanding = Outstanding(nobody)
    outstanding.expect(1, Waiting(lambda _: pytest.fail("told"), math.inf))

    assert outstanding.forget(1)
    assert not outstanding.forget(1)
    outstanding.settle(1, "a cat")
    outstanding.fail("gone")


async def test_the_late_are_told_each_by_a_deadline_of_its_own():
    late, told = [], []
    outstanding = Outstanding(late.append)
    now = time.monotonic()
    for id, deadline in ((1, math.inf), (2, now + 0.02), (3, now + 0.01)):
        outstanding.expect(id, Waiting(told.append, deadline))

    await eventually(lambda: len(told) == 2, "both are told")

    assert [type(each) for each in told] == [DeadlineExceeded] * 2
    assert sorted(late) == [2, 3]
    assert outstanding.forget(1)


async def test_when_all_is_lost_each_has_an_error_of_its_own_and_no_deadline_any_more():
    late, told = [], []
    outstanding = Outstanding(late.append)
    soon = time.monotonic() + 0.01
    for id in (1, 2):
        outstanding.expect(id, Waiting(told.append, soon))

    outstanding.fail("the connection is lost")
    outstanding.expect(3, Waiting(told.append, soon + 0.01))
    await eventually(lambda: late, "the one that came later is late")

    assert late == [3]
    lost = [(type(each), each.detail) for each in told[:2]]
    assert lost == [(NotServing, "the connection is lost")] * 2
    assert told[0] is not told[1]


async def test_one_who_cannot_be_told_does_not_keep_the_others_from_it(
    caplog: pytest.LogCaptureFixture,
):
    outstanding, told = Outstanding(nobody), []

    def broken(_: object) -> None:
        raise RuntimeError("no")

    outstanding.expect(1, Waiting(broken, math.inf))
    outstanding.expect(2, Waiting(told.append, math.inf))
    outstanding.fail("gone")

    assert len(told) == 1
    assert "could not be passed on" in caplog.text


async def test_when_all_is_lost_whoever_is_given_up_by_anothers_end_is_told_nothing():
    outstanding = Outstanding(nobody)
    outstanding.expect(1, Waiting(lambda _: outstanding.forget(2), math.inf))
    outstanding.expect(2, Waiting(lambda _: pytest.fail("told"), math.inf))

    outstanding.fail("gone")

    assert not outstanding.forget(2)
