"""Whether the other end of a link is still there, seen from what was heard of it.

A process that was stopped, a machine without power and a network that was cut hang
up on nobody. So each end of a link looks at it every `HEARTBEAT_SECONDS`: whoever has
said nothing since the look before says `Heartbeat`, and whoever has heard nothing
for `SILENT_LOOKS` looks hangs up. Everything that is said counts, so that a link
with traffic carries no heartbeats. Pure: looks are counted, and who looks has the timer.
"""

from __future__ import annotations

import enum
from typing import List, NamedTuple

from wire.frames import Frame, encode_frame
from wire.heads import Kind, pack, unpack
from wire.tensor import Buffer

HEARTBEAT_SECONDS = 0.4
#: Between the last word and the end lie 2.4 to 2.8 seconds. Somebody who is there speaks every
#: 0.8 at the latest: the network may be late by half a second, and a busy machine by one more.
SILENT_LOOKS = 6


class Heartbeat(NamedTuple):
    """Either way: still here, with nothing else to say. It is not answered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.HEARTBEAT, 0, pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Heartbeat:
        unpack(frame)
        return cls()


class Look(enum.Enum):
    """What a look at a link came to."""

    FINE = "fine"
    SPEAK = "speak"
    """Nothing was said lately: a heartbeat is due."""
    SILENT = "silent"
    """Nothing was heard for too long: hang up."""


class Pulse:
    """What one end knows of a link. It counts its own looks, not seconds: who was stopped for
    a while, and looks before it has read what came meanwhile, has missed one of them."""

    __slots__ = ("_silent", "_unsent", "heard", "queued", "said")

    def __init__(self) -> None:
        self.heard = False
        """Set by whoever reads."""
        self.said = False
        """Set by whoever writes."""
        self.queued = 0
        """Bytes that the kernel did not take at once when they were written, since the last look:
        added by whoever writes."""
        self._silent = 0
        self._unsent = 0

    def look(self, unsent_bytes: int) -> Look:
        """
        Args:
            unsent_bytes: what waits here since the kernel takes no more. That some of it has left
                is a sign of life, too, whatever was added: from somebody who reads slowly,
                nothing may be read meanwhile. Of what the kernel takes at once nobody knows
                whether it arrives.
        """
        left = self._unsent + self.queued - unsent_bytes if self._unsent and unsent_bytes else 0
        alive = self.heard or left > 0
        spoke = self.said
        self._silent = 0 if alive else self._silent + 1
        self._unsent = unsent_bytes
        self.heard = self.said = False
        self.queued = 0
        if self._silent >= SILENT_LOOKS:
            return Look.SILENT
        return Look.FINE if spoke else Look.SPEAK
