"""What a plain request is about, from its place to its outcome.

An `exchange` answers the caller and runs one errand at a time; an errand knows
neither sockets nor HTTP. Its places are taken before the body is received,
`ask` sets it to work, `close` gives back what is left and calls off what is
under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, Protocol

from coordinator.analysis import Analysis
from coordinator.decoder import DECODER
from coordinator.errors import DemitasseError, Internal
from coordinator.http import media_types, payloads
from coordinator.merge import Outcome
from coordinator.seats import Seats
from model_registry.snapshot import Version
from wire.flows import Flow
from wire.tensor import Buffer

_log = logging.getLogger(__name__)

Settle = Callable[[Outcome], None]


class Errand(Protocol):
    """One request's work. Closed once, however it ends."""

    version: Version
    """Which is asked."""
    decode_seconds: float
    """How long the pixels were waited for; 0 where none were needed."""

    def memory(self, size_bytes: int) -> memoryview:
        """Where a body may be received that is still to come; takes the places it will need.

        Raises:
            Overloaded: there is none.
        """

    def ask(self, body: Buffer, deadline: float, settle: Settle) -> None:
        """Sets it to work.

        Args:
            deadline: on the monotonic clock.
            settle: called once with the outcome, later than this returns, unless the
                errand is closed before.

        Raises:
            DemitasseError: there is nothing to wait for.
        """

    def close(self) -> None: ...


def errand(
    analysis: Analysis,
    version: Version,
    media_type: str,
    size_bytes: int,
    flow: Flow,
    deadline: float,
) -> Errand:
    """What a body of this type and size asks of this version, by a deadline. Raises Overloaded."""
    if media_types.is_photo(media_type):
        of_photo = partial(_of_photo, analysis, version)
        admit = partial(analysis.admit_photo, version, flow, deadline)
        return Awaited(version, admit, DECODER, of_photo)
    if payloads.takes_a_turn(media_type, size_bytes) or analysis.remembers(version):
        of_example = partial(_of_example, analysis, version, media_type)
        admit = partial(analysis.admit_example, version, flow, deadline)
        return Awaited(version, admit, version.model, of_example)
    return Direct(analysis, version, media_type, flow, deadline)


async def _of_photo(
    analysis: Analysis, version: Version, seats: Seats, body: Buffer, deadline: float
) -> tuple[Outcome, float]:
    return await analysis.infer_photo(seats, version, body, deadline)


async def _of_example(
    analysis: Analysis,
    version: Version,
    media_type: str,
    seats: Seats,
    body: Buffer,
    deadline: float,
) -> tuple[Outcome, float]:
    example = await payloads.example_in_turn(body, media_type, version.manifest.inputs)
    return await analysis.infer(seats, version, example, deadline), 0.0


class Direct:
    """An example of a model's own inputs, sent and answered by calls alone."""

    decode_seconds = 0.0

    __slots__ = ("_media_type", "_ticket", "version")

    def __init__(
        self, analysis: Analysis, version: Version, media_type: str, flow: Flow, deadline: float
    ) -> None:
        self.version = version
        self._media_type = media_type
        self._ticket = analysis.reserve(version, flow, deadline)

    def memory(self, size_bytes: int) -> memoryview:
        return self._ticket.memory(size_bytes)

    def ask(self, body: Buffer, deadline: float, settle: Settle) -> None:
        example = payloads.parse_example(body, self._media_type, self.version.manifest.inputs)
        self._ticket.send(example.inputs, example.parameters, deadline, settle)

    def close(self) -> None:
        self._ticket.close()


class Awaited:
    """A photo, an example that may be remembered, or a large one in numbers: it may have to
    wait for what others are having computed, or taken apart, in a task.

    A body that came with its head takes its places when the task begins, and has given
    back what it does not need before the next one's begins: of many equal ones at once,
    the first is computed and the others need no place.
    """

    def __init__(
        self,
        version: Version,
        admit: Callable[[], AbstractContextManager[Seats]],
        first: str,
        work: Callable[[Seats, Buffer, float], Coroutine[Any, Any, tuple[Outcome, float]]],
    ) -> None:
        """
        Args:
            first: the place whose host is the first to see the body.
            work: gives the outcome, and how long the pixels were waited for.
        """
        self.version = version
        self.decode_seconds = 0.0
        self._admit = admit
        self._first = first
        self._work = work
        self._places = ExitStack()
        self._seats: Seats | None = None
        self._task: asyncio.Task[Outcome] | None = None

    def memory(self, size_bytes: int) -> memoryview:
        return self._seated().memory(self._first, size_bytes)

    def ask(self, body: Buffer, deadline: float, settle: Settle) -> None:
        self._task = asyncio.get_running_loop().create_task(self._outcome(body, deadline))
        self._task.add_done_callback(partial(self._told, settle))

    async def _outcome(self, body: Buffer, deadline: float) -> Outcome:
        outcome, self.decode_seconds = await self._work(self._seated(), body, deadline)
        return outcome

    def _seated(self) -> Seats:
        if self._seats is None:
            self._seats = self._places.enter_context(self._admit())
        return self._seats

    def close(self) -> None:
        task, self._task = self._task, None  # its error leads back here, and to the body's memory
        if task is not None:
            task.cancel()
        self._places.close()

    def _told(self, settle: Settle, task: asyncio.Task[Outcome]) -> None:
        """Passes the outcome on; a fault of ours is logged in full, and shown to nobody.

        Called one turn of the event loop after the task has ended, and nobody may wait by then.
        """
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, DemitasseError):
            _log.error("an errand failed", exc_info=error)
            error = Internal()
        if self._task is task:  # not closed since
            settle(task.result() if error is None else error)
