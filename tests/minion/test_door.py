"""The door of one lane: its limit, and what that follows from."""

from __future__ import annotations

from typing import Any

from minion.host.admission import LEARNED_INTERVAL_SECONDS, Admission
from minion.host.dispatch import Dispatcher
from minion.host.promise import limit_of
from wire.tuning import Tuning

PROMISE = 1.0


def door() -> tuple[Admission, Dispatcher[Any]]:
    tuning = Tuning(None, 4, 0.0, 0, PROMISE)
    dispatcher: Dispatcher[Any] = Dispatcher(tuning)
    return Admission(tuning, dispatcher, 1), dispatcher


def test_the_limit_always_follows_from_the_basis_that_is_told():
    admission, dispatcher = door()
    for number, seconds in enumerate((0.1, 0.1, 0.4, 0.4, 0.4)):
        dispatcher.cost.observe(4, seconds)

        admission.learned(number * LEARNED_INTERVAL_SECONDS / 2)  # every other time it is asked

        assert admission.bouncer.limit == limit_of(PROMISE, admission.basis)


def test_what_was_learned_moves_the_limit_at_most_so_often():
    admission, dispatcher = door()
    dispatcher.cost.observe(4, 0.1)

    assert admission.learned(0.0)
    dispatcher.cost.observe(4, 0.4)
    assert not admission.learned(0.9 * LEARNED_INTERVAL_SECONDS)
    assert admission.learned(LEARNED_INTERVAL_SECONDS)
