"""A line in the log about callers who send what is no request, but not one for each.

Whoever sends a thousand broken heads a second would otherwise fill a disk, and
hide what matters. What was left out is counted, and said in the next line.
"""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

UNREAD = "an answer was not read in time"
#: Lines at once, and then so many a second.
_BURST = 10
_PER_SECOND = 1.0
#: Of what a caller sent, in a line.
_SHOWN = 200


class Ration:
    """So many at once and so many a second; plain, the time is an argument."""

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._at = now
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """One more: how many were left out since the last that was not; None: so is this one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Complaints:
    """What is said of the callers of one listener."""

    def __init__(self) -> None:
        self._ration = Ration(_BURST, _PER_SECOND, time.monotonic())

    def note(self, address: str, what: str, sent: str) -> None:
        """One caller was hung up on.

        Args:
            sent: what it sent, of which the beginning is shown.
        """
        left_out = self._ration.take(time.monotonic())
        if left_out is not None:
            facts = {"address": address, "sent": sent[:_SHOWN], "left_out": left_out}
            _log.warning("not a request: %s", what, extra={"facts": facts})
