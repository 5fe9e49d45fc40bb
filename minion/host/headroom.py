"""How large a batch may be, by where memory ran out.

Lowered by what was seen and never raised again as long as the host runs, but for one
reason: an example that runs out of memory alone was to blame for the batches that it
was in. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

UNLIMITED = 2**31


class Member(Protocol):
    """What is noted on an example."""

    headroom: int | None
    """The limit before memory ran out with this one in the batch; None: it never did."""


class Headroom:
    """The largest batch of one lane for which there is memory, as far as is known."""

    def __init__(self) -> None:
        self.limit = UNLIMITED

    def ran_out(self, members: Sequence[Member]) -> None:
        """Memory did, for a batch of these."""
        for member in members:
            if member.headroom is None:
                member.headroom = self.limit
        if len(members) > 1:
            self.limit = min(self.limit, (len(members) + 1) // 2)
        elif (before := members[0].headroom) is not None:
            self.limit = max(self.limit, before)
