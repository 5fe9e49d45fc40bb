"""Lanes whose workers do not stay: when they have failed, what callers hear, how they heal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from minion.host.lane import Failed, Lane, Refused
from minion.host.restarts import BUDGET_ENDINGS
from tests.minion.service import POISON, ask, ask_all, eventually, x
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


async def test_a_lane_that_dies_of_every_batch_has_failed_and_tells_who_waits(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Crashes")

    answers = [await ask(lane, POISON) for _ in range(BUDGET_ENDINGS)]

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
