"""coordinator/http/lookout.py: all are looked at, a few at a time."""

from __future__ import annotations

from collections import Counter

from coordinator.http.lookout import Lookout
from tests.waiting import Turns, eventually


class Connection:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.looked_at: list[int] = []

    def look(self, now: float) -> None:
        self.looked_at.append(self._turns.now)


async def test_all_are_looked_at_and_others_get_their_turn_in_between() -> None:
    turns = Turns()
    lookout: Lookout[Connection] = Lookout(0.01, lambda: None)
    connections = [Connection(turns) for _ in range(300)]
    lookout.connections.update(connections)

    await eventually(lambda: all(each.looked_at for each in connections), "all were looked at")
    lookout.stop()
    turns.stop()

    first = Counter(each.looked_at[0] for each in connections)
    assert max(first.values()) <= 8
    assert len(first) >= 300 / 8


async def test_of_many_more_are_looked_at_at_once_so_that_a_round_ends() -> None:
    turns = Turns()
    lookout: Lookout[Connection] = Lookout(0.5, lambda: None)
    connections = [Connection(turns) for _ in range(4000)]
    lookout.connections.update(connections)

    await eventually(lambda: all(each.looked_at for each in connections), "all were looked at")
    lookout.stop()
    turns.stop()

    assert max(Counter(each.looked_at[0] for each in connections).values()) == 4000 / 200


class Last:
    """Whoever is looked at first has all the others leave."""

    def __init__(self, lookout: Lookout[Last]) -> None:
        self._lookout = lookout
        self.looks = 0

    def look(self, now: float) -> None:
        self.looks += 1
        self._lookout.connections.clear()


async def test_who_has_left_in_the_meantime_is_not_looked_at() -> None:
    lookout: Lookout[Last] = Lookout(0.01, lambda: None)
    connections = [Last(lookout) for _ in range(300)]

    lookout.connections.update(connections)
    await eventually(lambda: not lookout.connections, "one was looked at")
    turns = Turns()
    await eventually(lambda: turns.now > 20, "the round is over")
    lookout.stop()
    turns.stop()

    assert sum(each.looks for each in connections) == 1
