"""Lanes whose workers do not stay: when they have failed, what callers hear, how they heal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from minion.host.keeper import LOADING_SECONDS
from minion.host.lane import Failed, Lane, Refused
from minion.host.restarts import BUDGET_ENDINGS
from minion.host.workers import State
from tests.minion.service import POISON, ask, ask_all, x
from tests.waiting import eventually
from wire.errors import Code

StartLane = Callable[..., Awaitable[Lane]]


async def has_failed(lane: Lane) -> None:
    await eventually(lambda: lane.keeper.failed, "the lane has failed")


def refusal(lane: Lane) -> Refused:
    with pytest.raises(Refused) as refused:
        lane.submit(x(1), {}, None, lambda outcome: None)
    return refused.value


async def test_a_lane_whose_workers_do_not_load_has_failed_after_its_budget(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane("LoadsWhileMarked", wait=False, options={"mark": str(tmp_path / "m")})

    await has_failed(lane)

    assert lane.keeper.restarts == BUDGET_ENDINGS
    refused = refusal(lane)
    assert refused.code is Code.NOT_READY
    assert 20.0 < refused.retry_after_seconds <= 30.0


async def test_when_it_has_failed_the_time_of_the_next_try_is_known(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane("LoadsWhileMarked", wait=False, options={"mark": str(tmp_path / "m")})
    told: list[float | None] = []
    lane.on_change.append(lambda: told.append(lane.keeper.seconds_until_try))

    await has_failed(lane)

    assert told[:-1] == [None] * (BUDGET_ENDINGS - 1)
    assert told[-1] == pytest.approx(30.0, abs=0.1)


async def test_while_one_is_tried_callers_are_told_to_wait_for_it(
    start_lane: StartLane, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    lane = await start_lane(
        "LoadsWhileMarked", wait=False, retry_seconds=0.01, options={"mark": str(mark)}
    )
    await has_failed(lane)
    tried = lane.keeper.restarts
    told = []

    while lane.keeper.restarts < tried + 2:
        told.append(refusal(lane).retry_after_seconds)
        await asyncio.sleep(0.001)

    assert set(told) == {LOADING_SECONDS}


async def test_a_lane_that_dies_of_every_batch_has_failed_and_tells_who_waits(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("DiesAbove")

    answers = [await ask(lane, 101.0 + number) for number in range(BUDGET_ENDINGS)]

    assert {answer.code for answer in answers} == {Code.WORKER_CRASHED, Code.NOT_READY}
    assert lane.keeper.failed
    assert not lane.ready


async def test_one_example_that_kills_again_and_again_spends_no_budget(
    start_lane: StartLane,
) -> None:
    """Halves of one batch: what they cost says something of an example, not of the model."""
    lane = await start_lane("Crashes", max_batch_size=16)

    answers = await ask_all(lane, *[POISON] * 8)

    assert [answer.code for answer in answers] == [Code.WORKER_CRASHED] * 8
    assert lane.keeper.restarts > BUDGET_ENDINGS
    assert not lane.keeper.failed
    assert (await ask(lane, 1))["x"] == 1


async def test_a_failed_lane_heals_when_what_was_missing_is_there(
    start_lane: StartLane, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    lane = await start_lane(
        "LoadsWhileMarked",
        wait=False,
        workers=2,
        retry_seconds=0.05,
        options={"mark": str(mark)},
    )
    await has_failed(lane)
    tried = lane.keeper.restarts
    await eventually(lambda: lane.keeper.restarts >= tried + 2, "it was tried again, twice")

    mark.touch()
    await eventually(lambda: lane.keeper.ready() == 2, "both places have a worker again")

    assert lane.ready
    assert not lane.keeper.failed
    assert not isinstance(await ask(lane, 1), Failed)


# Spares.


def states(lane: Lane) -> list[State]:
    return sorted((worker.state for worker in lane.keeper.workers), key=list(State).index)


async def is_complete(lane: Lane) -> None:
    await eventually(lambda: states(lane) == [State.SPARE, State.IDLE], "the spare has loaded")


async def test_a_spare_gets_no_batch_as_long_as_its_places_worker_lives(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", spares=1, max_batch_size=1)
    await is_complete(lane)

    answers = await ask_all(lane, *range(10))

    [worker] = [each for each in lane.keeper.workers if each.state is not State.SPARE]
    assert {answer["pid"] for answer in answers} == {worker.pid}
    assert lane.keeper.ready() == 1


async def test_a_spare_takes_the_place_of_a_worker_that_has_ended_and_loads_nothing_for_it(
    start_lane: StartLane, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    lane = await start_lane("LoadsWhileMarked", spares=1, options={"mark": str(mark)})
    await is_complete(lane)
    spare, worker = sorted(lane.keeper.workers, key=lambda each: each.state is State.IDLE)
    mark.unlink()  # from now on, none can load

    worker.kill()
    answer = await ask(lane, 1)

    assert answer["pid"] == spare.pid


async def test_a_spare_that_loads_while_a_place_waits_for_its_next_start_takes_it_at_once(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", workers=2, spares=1)
    workers = lambda: lane.keeper.workers  # noqa: E731
    states = [State.IDLE, State.IDLE, State.SPARE]

    async def all_loaded() -> None:
        await eventually(lambda: [each.state for each in workers()] == states, "all have loaded")

    await all_loaded()
    for _ in range(6):  # the place waits longer after each: 0.1 s, 0.2 s, ...
        before = workers()[0]
        os.kill(before.pid or 0, 9)
        await eventually(lambda w=before: w not in workers(), "it has ended")
        await all_loaded()

    os.kill(workers()[2].pid or 0, 9)
    await eventually(lambda: len(workers()) == 2, "there is no spare")
    os.kill(workers()[0].pid or 0, 9)
    ended = asyncio.get_running_loop().time()
    await eventually(lambda: lane.keeper.ready() == 1, "the place is free")
    await eventually(lambda: lane.keeper.ready() == 2, "it is taken")

    assert asyncio.get_running_loop().time() - ended < 4.0  # and not 6.4


async def test_a_spare_that_took_a_place_is_followed_by_another(start_lane: StartLane) -> None:
    lane = await start_lane("Dies", spares=1, options={"of": "exit"})
    await is_complete(lane)
    before = {worker.pid for worker in lane.keeper.workers}

    assert (await ask(lane, POISON)).code == Code.WORKER_CRASHED
    await is_complete(lane)

    assert not before & {worker.pid for worker in lane.keeper.workers}


async def test_a_spare_that_ends_is_replaced_and_nobody_else_notices(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", spares=1)
    await is_complete(lane)
    [spare] = [each for each in lane.keeper.workers if each.state is State.SPARE]

    spare.kill()
    await eventually(lambda: spare not in lane.keeper.workers, "it is gone")
    assert (await ask(lane, 1))["x"] == 1
    await is_complete(lane)

    assert lane.keeper.restarts == 1


async def test_worn_workers_are_replaced_beside_a_spare_and_never_more_than_one_works(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", spares=1, max_requests=1)
    await is_complete(lane)

    for number in range(5):
        assert (await ask(lane, number))["x"] == number
        assert lane.keeper.ready() <= 2  # the worn one, until it has ended
    await eventually(lambda: lane.keeper.replaced >= 1, "one was replaced")
    await is_complete(lane)
