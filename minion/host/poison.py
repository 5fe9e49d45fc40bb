"""Who spoils a batch, and when that is proved.

Of a batch that did not run to its end nothing is known but that the culprit may be
among its members: they are run again in smaller batches, until whoever is to blame
stands alone, and everybody else is answered. Pure: `lane` tells what happened, and
does what is said here.
"""

from __future__ import annotations

import enum
import signal
from typing import TypeVar

from minion.host.batch import halve
from wire.errors import Code

#: Endings while it ran alone, of processes that somebody may have ended from outside.
INTERRUPTIONS = 3
#: Signals by which no process ends itself by mistake: an operator's, or the kernel's when the
#: machine runs out of memory.
_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM}
#: What the kernel sends whose CPU time, by a timer or limit of its own, is over.
_OUT_OF_TIME = {-signal.SIGPROF, -signal.SIGVTALRM, -signal.SIGXCPU}

#: What a culprit is told who cost a process or all of its memory, and would again.
DETAILS = {
    Code.WORKER_CRASHED: "the model's process ends when it works on this input",
    Code.PREDICT_TIMEOUT: "the model takes too long on this input",
    Code.OUT_OF_MEMORY: "the model runs out of memory on this input",
}

T = TypeVar("T")


class Loss(enum.Enum):
    """How a batch lost the process that ran it."""

    CRASHED = "crashed"
    """It ended by itself, closed its connection, or talked nonsense."""
    EXCEEDED = "exceeded"
    """It was ended, since it wrote more than it may, and nothing was written before."""
    OVERRAN = "overran"
    """It was ended, since the batch took too long: by its host, or by a limit of its own."""
    INTERRUPTED = "interrupted"
    """From outside, as far as anybody can tell: weak evidence."""

    @property
    def code(self) -> Code:
        """What those are told who are not run again."""
        return Code.PREDICT_TIMEOUT if self is Loss.OVERRAN else Code.WORKER_CRASHED


def loss_of(status: int | None) -> Loss:
    """What an exit status that nobody here had a part in says.

    Args:
        status: as `subprocess` gives it; None: nobody knows.
    """
    if status is None or status in _FROM_OUTSIDE:
        return Loss.INTERRUPTED
    return Loss.OVERRAN if status in _OUT_OF_TIME else Loss.CRASHED


class Suspicion:
    """What is held against one example: processes that ended while they ran it."""

    __slots__ = ("_alone", "_crashes")

    def __init__(self) -> None:
        self._crashes = 0
        self._alone = 0

    def lost(self, loss: Loss, *, alone: bool) -> Code | None:
        """One more has ended; the code of the verdict, once there is no doubt.

        In company nobody is convicted. Alone: who overran, or wrote too much; whose process
        crashed, if another had before, in whatever company; and at whose third ending none of
        that is known.
        """
        self._crashes += loss in (Loss.CRASHED, Loss.EXCEEDED)
        self._alone += alone
        if not alone:
            return None
        if loss is Loss.OVERRAN:
            return Code.PREDICT_TIMEOUT
        proved = loss is Loss.EXCEEDED or (loss is Loss.CRASHED and self._crashes > 1)
        return Code.WORKER_CRASHED if proved or self._alone >= INTERRUPTIONS else None


def parts(members: list[T], loss: Loss) -> list[list[T]]:
    """The batches in which those are run again whose process was lost.

    A round of halving costs a process, and after an overrun a whole predict timeout, in which
    the deadlines of all others pass: then each runs alone, and there is one more such round.
    """
    return [[each] for each in members] if loss is Loss.OVERRAN else halve(members)
