"""How many connections there may be, in all and from one address, and whether they are to leave.

A plain count: whoever holds connections asks it when one comes, and says when
one has gone. Each process counts its own.
"""

from __future__ import annotations

from coordinator.errors import TooManyConnections


class Doors:
    """Counts the connections of one listener."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._inside: dict[str, int] = {}
        self.count = 0
        """Of connections that are open now."""
        self.closing = False
        """Whether every answer is the last on its connection."""

    def enter(self, address: str) -> TooManyConnections | None:
        """One more connection; a refusal where there are enough, and nothing has been counted."""
        here = self._inside.get(address, 0)
        if here >= self._most_per_address:
            return TooManyConnections(
                f"this address has {here} connections, at most {self._most_per_address} are kept"
            )
        if self.count >= self._most:
            return TooManyConnections()
        self._inside[address] = here + 1
        self.count += 1
        return None

    def leave(self, address: str) -> None:
        """A connection that entered has gone."""
        self.count -= 1
        here = self._inside[address] - 1
        if here:
            self._inside[address] = here
        else:
            del self._inside[address]
