"""What is being computed is computed once, for all who wait for it.

A `Flight` is one computation under way. It belongs to nobody: whoever began it
waits like all others, may leave like all others, and only when the last has
left is it called off. Deadlines are the waiters' own. What a computation comes
to is a value, a `DemitasseError` among them; it raises what is a fault of ours.

`Flights` and `Flight` need no event loop: a computation that reports by
callback uses them alone (`begin`, `join`, `leave`, `land`). `wait` is for those
whose computation is a coroutine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Hashable
from functools import partial
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from coordinator.errors import CallerError, DeadlineExceeded, DemitasseError, ModelFailure

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Fault(NamedTuple):
    """What a computation raised that should raise nothing."""

    exception: BaseException
    traceback: TracebackType | None
    """Of the computation alone: each who waits raises it from there."""


class _Expired:
    """What a wait comes to that took too long. No exception, which would hold who raises it,
    and he the wait."""


class Flight(Generic[T]):
    """One computation under way, and those who wait for it."""

    __slots__ = ("_flying", "_key", "_waiting", "call_off")

    def __init__(self, key: Hashable, flying: dict[Any, Flight[T]]) -> None:
        self.call_off: Callable[[], object] = _nothing
        """Set by whoever began it: ends the computation, since nobody waits any more."""
        self._key = key
        self._flying = flying
        self._waiting: dict[Callable[[T | Fault], None], None] = {}

    def join(self, landed: Callable[[T | Fault], None]) -> None:
        """Has `landed` called once, with what it came to, unless it leaves before."""
        self._waiting[landed] = None

    def leave(self, landed: Callable[[T | Fault], None]) -> None:
        """Waits no longer. The last to leave ends the flight; leaving twice changes nothing."""
        if landed in self._waiting:
            del self._waiting[landed]
            if not self._waiting:
                self._end()
                self.call_off()

    def land(self, outcome: T | Fault) -> None:
        """Tells everybody, in the order in which they came. Nobody can join from here on."""
        self._end()
        waiting, self._waiting = self._waiting, {}
        for landed in waiting:
            landed(outcome)

    def _end(self) -> None:
        if self._flying.get(self._key) is self:  # and not the next one already
            del self._flying[self._key]


class Flights(Generic[K, T]):
    """All that is under way, by key."""

    def __init__(self) -> None:
        self._flying: dict[K, Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def find(self, key: K) -> Flight[T] | None:
        """The one that may be joined."""
        return self._flying.get(key)

    def begin(self, key: K) -> Flight[T]:
        """A new one, where `find` has none. The caller joins it and sets its `call_off`."""
        assert key not in self._flying
        flight: Flight[T] = Flight(key, self._flying)
        self._flying[key] = flight
        return flight

    def wait(
        self, key: K, compute: Callable[[], Coroutine[Any, Any, T]], deadline: float
    ) -> Wait[T]:
        """A wait for what is under way; where nothing is, for `compute()`, begun in a task."""
        flight = self.find(key)
        if flight is not None:
            return Wait(flight, deadline, leads=False)
        flight = self.begin(key)
        wait = Wait(flight, deadline, leads=True)
        task = asyncio.get_running_loop().create_task(compute())
        task.add_done_callback(partial(_landed, flight))
        flight.call_off = task.cancel
        return wait


class Wait(Generic[T]):
    """One caller's wait for a flight. A context manager: leaving it leaves the flight.

    Awaiting it gives what the computation came to, or raises DeadlineExceeded: the caller's
    own deadline, on the monotonic clock, has passed first.
    """

    __slots__ = ("_flight", "_future", "_timer", "leads")

    def __init__(self, flight: Flight[T], deadline: float, *, leads: bool) -> None:
        loop = asyncio.get_running_loop()
        self.leads = leads
        """Whether the flight was begun for this one."""
        self._flight = flight
        self._future: asyncio.Future[T | Fault | _Expired] = loop.create_future()
        left = max(deadline - time.monotonic(), 0.0)
        self._timer = loop.call_later(left, self._expire)
        flight.join(self._land)

    def __await__(self) -> Generator[Any, None, T]:
        outcome = yield from self._future
        if isinstance(outcome, _Expired):
            raise DeadlineExceeded
        if isinstance(outcome, Fault):
            raise outcome.exception.with_traceback(outcome.traceback)
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        self._flight.leave(self._land)

    def _land(self, outcome: T | Fault) -> None:
        if self._future.done():  # its caller was cancelled in this turn of the loop
            return
        self._timer.cancel()
        self._future.set_result(outcome)

    def _expire(self) -> None:
        if not self._future.done():
            self._future.set_result(_Expired())
            self._flight.leave(self._land)


async def settled(
    wait: Wait[T], again: Callable[[], Wait[T]], is_misfortune: Callable[[T], bool]
) -> tuple[T, bool]:
    """What the wait comes to; where another request's misfortune ended it, what the next does.

    Who began a flight takes what it came to. Of the others one begins the next, and the
    rest wait for that.

    Returns:
        The outcome, and whether the flight was begun for this caller.
    """
    while True:
        with wait:
            outcome = await wait
        if wait.leads or not is_misfortune(outcome):
            return outcome, wait.leads
        wait = again()


def is_misfortune(outcome: object) -> bool:
    """Whether it is an error that the input is not to blame for: it might go well the next time."""
    to_blame = isinstance(outcome, CallerError | ModelFailure)
    return isinstance(outcome, DemitasseError) and not to_blame


def _landed(flight: Flight[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():  # called off: nobody waits
        return
    fault = task.exception()
    flight.land(task.result() if fault is None else Fault(fault, fault.__traceback__))


def _nothing() -> None:
    """Whoever begins a flight says how to end it."""
