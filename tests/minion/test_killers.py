"""A lane with real workers that die, or never return: who did nothing is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from minion.host.bouncer import Ending
from minion.host.examples import Failed, Refused
from minion.host.killers import KNOWN_SECONDS
from minion.host.lane import Lane
from minion.host.server import run_one
from minion.host.workers import State
from tests.minion.service import POISON, Gate, ask, read, x
from tests.processes import alive
from tests.waiting import eventually
from wire.errors import Code
from wire.reasons import Reason

StartLane = Callable[..., Awaitable[Lane]]

#: Sixteen culprits end some thirty processes, one after the other.
PATIENCE_SECONDS = 90.0


async def ask_patiently(lane: Lane, *values: float) -> list[object]:
    """All at once; what each is told: its number, or a code."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        outcomes = await asyncio.gather(*(run_one(lane, x(value), {}) for value in values))
    answers = [read(outcome) for outcome in outcomes]
    return [each.code if isinstance(each, Failed) else each["x"] for each in answers]


async def ends(lane: Lane) -> int:
    """How many processes have ended, once there is one that lives."""
    await eventually(lambda: lane.keeper.ready() == 1, "a worker is ready")
    return lane.keeper.restarts


def among(size: int, **culprits: float) -> list[float]:
    """So many examples, and at some places other ones: `at_3=13.0`."""
    values = [float(value) for value in range(200, 200 + size)]
    for place, value in culprits.items():
        values[int(place.removeprefix("at_"))] = value
    return values


@pytest.mark.parametrize("place", [0, 5, 15])
@pytest.mark.parametrize("of", ["abort", "exit", "segmentation fault"])
async def test_a_killer_among_sixteen_costs_five_processes_and_nobody_else_anything(
    start_lane: StartLane, of: str, place: int
) -> None:
    lane = await start_lane("Dies", max_batch_size=16, options={"of": of})
    values = among(16, **{f"at_{place}": POISON})

    told = await ask_patiently(lane, *values)

    assert told == [Code.WORKER_CRASHED if value == POISON else value for value in values]
    assert await ends(lane) == 5
    assert lane.bouncer.occupied == 0


async def test_whoever_closes_the_workers_descriptors_is_found(start_lane: StartLane) -> None:
    lane = await start_lane("Dies", max_batch_size=4, options={"of": "closed descriptors"})

    told = await ask_patiently(lane, 1, POISON, 3, 4)

    assert told == [1, Code.WORKER_CRASHED, 3, 4]


@pytest.mark.parametrize("culprits", [[3, 12], [6, 7], list(range(16))], ids=str)
async def test_several_killers_in_one_batch_are_all_found(
    start_lane: StartLane, culprits: list[int]
) -> None:
    lane = await start_lane("DiesAbove", max_batch_size=16)
    values = [101.0 + each if each in culprits else float(each) for each in range(16)]

    told = await ask_patiently(lane, *values)

    assert told == [Code.WORKER_CRASHED if value > 100 else value for value in values]
    assert await ends(lane) <= 5 * len(culprits)
    assert await ask_patiently(lane, 1) == [1]


@pytest.mark.parametrize(
    "where", ["python", "C with the interpreter's lock", "a regular expression"]
)
async def test_whoever_never_returns_costs_two_processes_and_nobody_else_anything(
    start_lane: StartLane, where: str
) -> None:
    lane = await start_lane(
        "Stuck", max_batch_size=16, predict_timeout_seconds=0.6, options={"in": where}
    )
    [worker] = lane.keeper.workers
    pid = worker.pid

    told = await ask_patiently(lane, *among(16, at_5=POISON))

    assert told == [*among(16)[:5], Code.PREDICT_TIMEOUT, *among(16)[6:]]
    assert await ends(lane) == 2
    assert not alive(pid)


async def test_a_process_that_stops_itself_again_and_again_is_found(
    start_lane: StartLane,
) -> None:
    lane = await start_lane(
        "Stuck", predict_timeout_seconds=0.6, options={"in": "a stop of its own"}
    )

    assert await ask_patiently(lane, POISON) == [Code.WORKER_CRASHED]
    assert await ends(lane) == 3


async def test_in_the_place_of_a_stuck_worker_another_starts_within_a_second_on_the_real_clock(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Stuck", predict_timeout_seconds=0.6, options={"in": "python"})
    pid, loop = lane.keeper.workers[0].pid, asyncio.get_running_loop()
    started = loop.time()

    answer = asyncio.create_task(ask(lane, POISON))
    await eventually(lambda: lane.keeper.workers[0].pid not in (None, pid), "another has started")
    seconds = loop.time() - started

    assert (await answer).code == Code.PREDICT_TIMEOUT
    assert 0.6 <= seconds < 0.6 + 1.0


# What must not be computed twice.


@pytest.mark.parametrize(
    ("model", "changes", "code"),
    [
        ("Crashes", {}, Code.WORKER_CRASHED),
        ("Hangs", {"predict_timeout_seconds": 0.6}, Code.PREDICT_TIMEOUT),
        ("Raises", {}, Code.MODEL_ERROR),
        ("RunsOut", {}, Code.OUT_OF_MEMORY),
    ],
)
async def test_of_a_model_that_is_not_pure_nobody_is_run_twice(
    start_lane: StartLane, model: str, changes: dict[str, object], code: Code
) -> None:
    lane = await start_lane(model, pure=False, max_batch_size=4, **changes)

    told = await ask_patiently(lane, 1, POISON, 3)

    assert told == [code] * 3
    assert lane.departures[Reason.AGAIN] == 0
    assert lane.keeper.restarts <= 1
    assert not lane.trial.killers, "in company nobody is convicted"
    assert await ask_patiently(lane, 4) == [4]


async def test_nor_is_one_whose_process_was_killed_from_outside(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", pure=False, max_batch_size=1, options=gate.options)
    asked = asyncio.create_task(ask_patiently(lane, 1, 2))
    await eventually(lambda: lane.keeper.workers[0].state is State.BUSY, "the first runs")

    lane.keeper.workers[0].kill()
    await eventually(lambda: lane.keeper.restarts == 1, "it has ended")
    gate.open_for(1)  # for the other one, who had not been begun

    assert await asked == [Code.WORKER_CRASHED, 2]


# What is known.


@pytest.mark.parametrize(
    ("model", "changes", "code"),
    [
        ("Crashes", {}, Code.WORKER_CRASHED),
        ("Hangs", {"predict_timeout_seconds": 0.6}, Code.PREDICT_TIMEOUT),
    ],
)
async def test_the_same_killer_again_is_refused_and_costs_nothing(
    start_lane: StartLane, model: str, changes: dict[str, object], code: Code
) -> None:
    lane = await start_lane(model, **changes)
    assert await ask_patiently(lane, POISON) == [code]
    before = await ends(lane)

    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await ask(lane, POISON)
        assert refused.value.code is code

    assert await ask_patiently(lane, 1) == [1]
    assert await ends(lane) == before
    assert lane.trial.killers.refused == {code: 3}
    assert lane.bouncer.occupied == 0


async def test_with_other_parameters_it_is_another_input(start_lane: StartLane) -> None:
    lane = await start_lane("Crashes")
    await ask(lane, POISON)

    answer = await ask(lane, POISON, mood="better")

    assert answer.code == Code.WORKER_CRASHED
    assert not lane.trial.killers.refused


async def test_after_ten_minutes_it_is_tried_again(start_lane: StartLane) -> None:
    now = [100.0]
    lane = await start_lane("Crashes", clock=lambda: now[0])
    await ask(lane, POISON)
    before = await ends(lane)

    now[0] += KNOWN_SECONDS + 1

    assert (await ask(lane, POISON)).code == Code.WORKER_CRASHED
    assert await ends(lane) == before + 2


async def test_sixteen_times_the_same_killer_is_executed_until_one_is_convicted(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Crashes", max_batch_size=16)

    told = await ask_patiently(lane, *[POISON] * 16)

    assert told == [Code.WORKER_CRASHED] * 16
    assert await ends(lane) < 31
    assert lane.bouncer.endings == {Ending.FAILED: 16}


async def test_what_raises_costs_no_process_and_is_not_remembered(start_lane: StartLane) -> None:
    lane = await start_lane("Raises")

    for _ in range(2):
        assert await ask_patiently(lane, POISON) == [Code.MODEL_ERROR]

    assert not lane.trial.killers
    assert lane.keeper.restarts == 0


async def test_a_host_that_did_not_run_for_a_while_of_real_time_convicts_nobody_when_it_does(
    start_lane: StartLane, gate: Gate
) -> None:
    """As one that was stopped, or whose machine slept: what it waits for may have been, too."""
    timeout = 1.0
    lane = await start_lane("Gated", predict_timeout_seconds=timeout, options=gate.options)
    asked = asyncio.create_task(ask_patiently(lane, 7))
    await eventually(lambda: lane.bouncer.occupied == 1 and not lane.queued, "it runs")

    time.sleep(2 * timeout)  # noqa: ASYNC251 - nothing is to run
    await asyncio.sleep(0)
    gate.open_for(1)

    assert await asked == [7]
    assert lane.keeper.restarts == 0


async def test_nothing_is_remembered_of_an_input_that_its_caller_may_have_overwritten(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", predict_timeout_seconds=0.6, options=gate.options)
    example = lane.submit(x(1), {}, None, lambda outcome: None)
    await eventually(lambda: not lane.queued, "it runs")

    lane.abandon(example)
    await eventually(lambda: lane.keeper.restarts == 1, "its worker was ended")

    assert not lane.trial.killers
    assert lane.bouncer.endings == {Ending.ABANDONED: 1}
