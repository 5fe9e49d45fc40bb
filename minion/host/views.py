"""What coordinators know of the room on machines, and whom they choose; in virtual time.

As the coordinator's fleet does it (docs/adr/0002): each counts at once what it has
sent itself, and hears of what others have sent when a host pushes its status. The
one with the most room gets the next example. Pure; part of `simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: How often hosts push what others have sent, as `link` does.
NEWS_SECONDS = 0.02
_THE_ONLY_ONE = (0, 0)


class Views:
    """How much room each coordinator sees on each machine."""

    def __init__(self, machines: int, coordinators: int) -> None:
        self._limits = np.zeros(machines, np.int64)
        self._taken = np.zeros((coordinators, machines), np.int64)
        self._others = np.zeros((coordinators, machines), np.int64)
        self._alone = coordinators == 1
        self._single = self._alone and machines == 1  # the host itself knows all there is to know
        self._heard = 0.0

    def limit(self, machine: int, limit: int) -> None:
        """Pushed at once to everybody."""
        self._limits[machine] = limit

    def choose(self, turn: int, now: float) -> tuple[int, int] | None:
        """Coordinator and machine of the next example; None where no room is seen."""
        if self._single:
            return _THE_ONLY_ONE
        coordinator = turn % len(self._taken)
        if not self._alone and now >= self._heard + NEWS_SECONDS:
            self._heard = now
            self._others = self._taken.sum(axis=0) - self._taken
        room = self._limits - self._taken[coordinator] - self._others[coordinator]
        machine = int(room.argmax())
        return (coordinator, machine) if room[machine] > 0 else None

    def took(self, coordinator: int, machine: int) -> None:
        if not self._single:
            self._taken[coordinator, machine] += 1

    def left(self, machine: int, coordinators: Sequence[int]) -> None:
        """One example of each of these has left."""
        if self._alone:
            self._taken[0, machine] -= len(coordinators)
        else:
            np.subtract.at(self._taken[:, machine], coordinators, 1)
