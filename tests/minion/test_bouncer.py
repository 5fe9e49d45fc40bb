"""Who may come in."""

from __future__ import annotations

import pytest

from minion.host.bouncer import Bouncer, Ending, QueueFull


def test_as_many_enter_as_the_limit_says() -> None:
    bouncer = Bouncer(2)
    bouncer.admit()
    bouncer.admit()

    with pytest.raises(QueueFull, match="2 examples are queued or running, the limit is 2"):
        bouncer.admit()

    assert (bouncer.occupied, bouncer.admitted, bouncer.refused) == (2, 2, 1)


@pytest.mark.parametrize("ending", Ending)
def test_however_it_ends_a_place_is_given_back(ending: Ending) -> None:
    bouncer = Bouncer(1)

    bouncer.admit()
    bouncer.leave(ending)

    bouncer.admit()
    assert bouncer.endings == {ending: 1}


def test_several_leave_together() -> None:
    bouncer = Bouncer(3)
    for _ in range(3):
        bouncer.admit()

    bouncer.leave(Ending.COMPLETED, 2)

    assert (bouncer.occupied, bouncer.endings) == (1, {Ending.COMPLETED: 2})


def test_a_lower_limit_throws_nobody_out() -> None:
    bouncer = Bouncer(3)
    for _ in range(3):
        bouncer.admit()
    bouncer.limit = 2

    assert bouncer.occupied == 3
    bouncer.leave(Ending.COMPLETED)
    with pytest.raises(QueueFull):
        bouncer.admit()
    bouncer.leave(Ending.COMPLETED)
    bouncer.admit()
