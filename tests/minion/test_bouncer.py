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
def test_however_it_ends_a_ticket_gives_its_place_back(ending: Ending) -> None:
    bouncer = Bouncer(1)

    bouncer.admit().end(ending)

    bouncer.admit()
    assert bouncer.endings == {ending: 1}


def test_a_ticket_ends_once() -> None:
    bouncer = Bouncer(2)
    ticket = bouncer.admit()
    bouncer.admit()

    ticket.end(Ending.COMPLETED)
    ticket.end(Ending.FAILED)

    assert bouncer.occupied == 1
    assert bouncer.endings == {Ending.COMPLETED: 1}


def test_a_lower_limit_throws_nobody_out() -> None:
    bouncer = Bouncer(3)
    tickets = [bouncer.admit() for _ in range(3)]
    bouncer.limit = 2

    assert bouncer.occupied == 3
    tickets[0].end(Ending.COMPLETED)
    with pytest.raises(QueueFull):
        bouncer.admit()
    tickets[1].end(Ending.COMPLETED)
    bouncer.admit()
