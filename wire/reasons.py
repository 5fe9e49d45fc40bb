"""Why a batch left the queue when it did, as a number on the wire and a word for people."""

from __future__ import annotations

import enum


class Reason(enum.IntEnum):
    """What settled it. A number keeps its meaning; new ones come at the end."""

    FULL = 0
    """As many waited as one batch takes."""
    WINDOW = 1
    """The oldest had waited for as long as a batch may be held open."""
    COMPANY = 2
    """A worker was idle, and nobody was expected soon enough to be worth waiting for."""
    DEADLINE = 3
    """Somebody would not have been answered in time otherwise."""
    AHEAD = 4
    """It would get no fuller, and went to a worker that still ran another."""
    SHAPES = 5
    """Examples of too many shapes waited for any to be held open."""
    AGAIN = 6
    """It is what was left, or a half, of a batch that did not run to its end."""

    @property
    def word(self) -> str:
        return _WORDS[self]


_WORDS = {
    Reason.FULL: "full",
    Reason.WINDOW: "window-closed",
    Reason.COMPANY: "nobody-to-wait-for",
    Reason.DEADLINE: "deadline-near",
    Reason.AHEAD: "ahead-of-a-busy-worker",
    Reason.SHAPES: "many-shapes",
    Reason.AGAIN: "run-again",
}
