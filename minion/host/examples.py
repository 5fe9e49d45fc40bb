"""One example in a lane, and what may become of it.

Refused at the door, or let in and answered, or let in and failed. Values only:
`lane` makes them, and links and HTTP handlers, which submit examples and are
told each one's outcome, say it in their own words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from minion.host.inputs import Group
from minion.host.poison import Suspicion
from wire.answers import Answer
from wire.errors import Code
from wire.flows import Flow
from wire.tensor import Tensor


class Answered(NamedTuple):
    answer: Answer
    batch_size: int
    queue_seconds: float
    predict_seconds: float
    left: int
    """Why the batch left the queue when it did: a `Reason`."""


class Failed(NamedTuple):
    code: str
    detail: str
    invalid_input: bool = False


Outcome = Answered | Failed


class Refused(Exception):
    """The example was not accepted; nothing was kept of it."""

    def __init__(
        self,
        code: Code,
        detail: str,
        retry_after_seconds: float = 0.0,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            numbers: by name, those from which the refusal follows.
        """
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.numbers = numbers or {}


class Example(msgspec.Struct, eq=False):
    """One accepted example. `settle` is called once, unless it is abandoned first."""

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any]
    deadline: float | None
    settle: Callable[[Outcome], None] | None
    group: Group
    flow: Flow
    submitted: float
    suspicion: Suspicion | None = None
    headroom: int | None = None
    """The largest batch before memory ran out with this one in it."""
    lacked_memory: bool = False
    """Whether memory ran out with this one alone."""

    @property
    def suspected(self) -> bool:
        """Whether a process has ended while it ran this, in whatever company."""
        return self.suspicion is not None
