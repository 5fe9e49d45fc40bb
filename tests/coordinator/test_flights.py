"""One computation for all who wait: joined, left, landed; on a loop, with deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import Callable

import pytest

from coordinator.errors import (
    DeadlineExceeded,
    DemitasseError,
    InvalidInput,
    NotServing,
    WorkerCrashed,
)
from coordinator.flights import Flights, Wait, is_misfortune, settled
from tests.waiting import eventually

LATER = time.monotonic() + 3600


def test_all_who_joined_are_told_once_in_order():
    flights: Flights[str, int] = Flights()
    told: list[tuple[str, object]] = []
    flight = flights.begin("key")
    for name in "abc":
        flight.join(lambda outcome, name=name: told.append((name, outcome)))
    assert flights.find("key") is flight

    flight.land(7)

    assert told == [("a", 7), ("b", 7), ("c", 7)]
    assert flights.find("key") is None


def test_who_left_is_not_told_and_the_flight_goes_on():
    flights: Flights[str, int] = Flights()
    told, off = [], []
    flight = flights.begin("key")
    flight.call_off = lambda: off.append(True)
    flight.join(leader := lambda outcome: told.append("leader"))
    flight.join(lambda outcome: told.append("follower"))

    flight.leave(leader)
    flight.land(7)

    assert (told, off) == (["follower"], [])


def test_when_the_last_leaves_it_is_called_off_once_and_cannot_be_joined():
    flights: Flights[str, int] = Flights()
    off = []
    flight = flights.begin("key")
    flight.call_off = lambda: off.append(True)
    waiters = [lambda outcome: None, lambda outcome: None]
    for waiter in waiters:
        flight.join(waiter)

    for waiter in [*waiters, waiters[0]]:
        flight.leave(waiter)

    assert off == [True]
    assert flights.find("key") is None


def test_one_that_was_called_off_and_lands_late_leaves_the_next_one_alone():
    flights: Flights[str, int] = Flights()
    first = flights.begin("key")
    first.join(waiter := lambda outcome: None)
    first.leave(waiter)
    second = flights.begin("key")

    first.land(1)

    assert flights.find("key") is second


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (7, False),
        (InvalidInput("no photo"), False),
        (WorkerCrashed(), False),
        (NotServing(), True),
        (DeadlineExceeded(), True),
    ],
)
def test_what_the_input_is_to_blame_for_is_no_misfortune(outcome: object, expected: bool) -> None:
    assert is_misfortune(outcome) is expected


class Computation:
    """Begun as often as it is asked to; answers when told."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[asyncio.Future[int | DemitasseError]] = asyncio.Queue()
        self.times = 0
        self.cancelled = 0

    async def __call__(self) -> int | DemitasseError:
        answer: asyncio.Future[int | DemitasseError] = asyncio.get_running_loop().create_future()
        self.times += 1
        self.begun.put_nowait(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


Flown = Flights[str, int | DemitasseError]


async def asking(
    flights: Flown, computation: Computation, deadline: float = LATER
) -> tuple[int | DemitasseError, bool]:
    def wait() -> Wait[int | DemitasseError]:
        return flights.wait("key", computation, deadline)

    return await settled(wait(), wait, is_misfortune)


@pytest.fixture
def flights() -> Flown:
    return Flights()


@pytest.fixture
def computation() -> Computation:
    return Computation()


async def test_fifty_get_what_one_computed(flights: Flown, computation: Computation) -> None:
    tasks = [asyncio.create_task(asking(flights, computation)) for _ in range(50)]
    (await computation.begun.get()).set_result(7)

    outcomes = await asyncio.gather(*tasks)

    assert outcomes == [(7, True), *[(7, False)] * 49]
    assert computation.times == 1
    assert not len(flights)


async def test_a_leader_who_leaves_takes_nobody_down(
    flights: Flown, computation: Computation
) -> None:
    leader, *others = [asyncio.create_task(asking(flights, computation)) for _ in range(3)]
    answer = await computation.begun.get()
    leader.cancel()
    await asyncio.wait([leader])
    answer.set_result(7)

    assert await asyncio.gather(*others) == [(7, False)] * 2
    assert (computation.times, computation.cancelled) == (1, 0)


async def test_when_all_have_left_it_is_cancelled(flights: Flown, computation: Computation) -> None:
    tasks = [asyncio.create_task(asking(flights, computation)) for _ in range(3)]
    await computation.begun.get()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    await eventually(lambda: computation.cancelled == 1, "it is cancelled")
    assert not len(flights)


async def test_one_who_leaves_before_it_has_begun_leaves_nothing_behind(
    flights: Flown, computation: Computation
) -> None:
    with flights.wait("key", computation, LATER):
        pass
    await asyncio.sleep(0)

    assert not computation.times
    assert not len(flights)


async def test_an_error_of_the_input_is_everybodys(
    flights: Flown, computation: Computation
) -> None:
    tasks = [asyncio.create_task(asking(flights, computation)) for _ in range(3)]
    (await computation.begun.get()).set_result(error := InvalidInput("no photo"))

    assert [outcome for outcome, _ in await asyncio.gather(*tasks)] == [error] * 3
    assert computation.times == 1


async def test_after_a_misfortune_one_of_the_others_begins_again_and_the_rest_wait_for_that(
    flights: Flown, computation: Computation
) -> None:
    tasks = [asyncio.create_task(asking(flights, computation)) for _ in range(4)]
    (await computation.begun.get()).set_result(error := NotServing())
    (await computation.begun.get()).set_result(7)

    assert await asyncio.gather(*tasks) == [(error, True), (7, True), (7, False), (7, False)]
    assert computation.times == 2


@pytest.mark.parametrize("early", [0, 1], ids=["the leader's", "a follower's"])
async def test_a_deadline_ends_one_wait_and_no_other(
    flights: Flown, computation: Computation, early: int
) -> None:
    deadlines = [LATER, LATER]
    deadlines[early] = time.monotonic() - 1
    tasks = [asyncio.create_task(asking(flights, computation, each)) for each in deadlines]

    with pytest.raises(DeadlineExceeded):
        await tasks[early]
    (await computation.begun.get()).set_result(7)

    outcome, _ = await tasks[1 - early]
    assert outcome == 7


async def test_who_was_too_late_leaves_nothing_for_the_garbage_collector(
    flights: Flown, computation: Computation
) -> None:
    async def late() -> weakref.ref[Computation]:
        photo = Computation()
        with contextlib.suppress(DeadlineExceeded):
            await asking(flights, computation, time.monotonic() - 1)
        return weakref.ref(photo)

    gc.disable()
    try:
        photo = await late()
        assert photo() is None
    finally:
        gc.enable()


async def test_a_fault_of_ours_reaches_everybody(flights: Flown) -> None:
    async def broken() -> int:
        raise ZeroDivisionError

    waits: list[Callable[[], Wait[int | DemitasseError]]] = [
        lambda: flights.wait("key", broken, LATER)
    ] * 2
    tasks = [asyncio.ensure_future(settled(wait(), wait, is_misfortune)) for wait in waits]

    raised = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in raised] == [ZeroDivisionError] * 2
