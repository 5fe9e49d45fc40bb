"""When whoever is refused should come back.

A full lane frees one place every so often. Told that moment, all who were
refused would come back for the same place; so each is told of the next one that
nobody was told of before. Nothing is kept free for them: newcomers may take a
place that somebody was told of, and whoever is refused after that is told of a
later one. Pure: each `replica` has one of these, and says what it sees.
"""

from __future__ import annotations

from collections.abc import Callable

#: Places become free this much later than expected, as far as anybody is told: who comes too
#: early is refused again, and who comes late has lost next to nothing.
MARGIN = 1.1
#: Between two places, at random: with several coordinators their callers do not meet either.
JITTER = 0.5
#: Nobody is told to wait for longer: who knows what a minute brings.
MAX_SECONDS = 60.0
#: For each place, before any batch was measured.
UNKNOWN_SECONDS = 1.0


class Returns:
    """The moments of one replica's places that somebody was told of."""

    def __init__(self, random: Callable[[], float]) -> None:
        """
        Args:
            random: from 0 up to 1.
        """
        self._random = random
        self._last = 0.0  # the latest moment that somebody was told of, without the jitter
        self._away = 0  # told, and not back yet as far as can be told

    @property
    def pending(self) -> bool:
        """Whether anybody was told of a moment that may still come."""
        return self._away > 0

    def told_for(self, now: float) -> float:
        """For so many seconds, places are told of already."""
        return max(self._last - now, 0.0)

    def next(self, now: float, *, missing: int, seconds_each: float) -> float:
        """In how many seconds the next place is free that nobody was told of.

        Args:
            missing: how many must leave before there is room for one more: 1 at the limit.
            seconds_each: how often, for this coordinator, a place becomes free.
        """
        each = (seconds_each or UNKNOWN_SECONDS) * MARGIN
        return max(now + missing * each, self._last + each) - now

    def tell(self, now: float, *, missing: int, seconds_each: float) -> float:
        """As `next`, and now somebody was told of it: what, in seconds."""
        seconds = self.next(now, missing=missing, seconds_each=seconds_each)
        each = (seconds_each or UNKNOWN_SECONDS) * MARGIN
        if seconds > MAX_SECONDS:
            return MAX_SECONDS * (1 - JITTER * self._random())
        self._away = self._away + 1 if self._last > now else 1
        self._last = now + seconds
        return min(seconds + JITTER * each * self._random(), MAX_SECONDS)

    def taken(self, now: float, *, seconds_each: float, empty: bool = False) -> None:
        """Somebody got a place: who was told of it, or else one that somebody was told of.

        Args:
            empty: all places were free. Who was told of one found another, or stays away.
        """
        if empty or self._last <= now:
            self._last, self._away = now, 0
            return
        each = (seconds_each or UNKNOWN_SECONDS) * MARGIN
        if self._away - 1 > (self._last - now) / each - 0.01:  # somebody's moment has come
            self._away -= 1
        else:
            self._last += each
