"""A lane with real workers: whatever a model does, every example is answered, and answered once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from minion.host.bouncer import Ending
from minion.host.examples import Example, Failed, Outcome, Refused
from minion.host.lane import Lane
from minion.host.promise import limit_of
from minion.host.server import run_one
from minion.host.spec import InputSpec
from minion.host.workers import State
from tests.minion.service import POISON, Gate, ask, ask_all, read, x
from tests.processes import alive, children
from tests.waiting import eventually
from wire.errors import Code
from wire.flows import Flow
from wire.reasons import Reason
from wire.tensor import Tensor
from wire.torch_options import TorchOptions
from wire.tuning import Tuning

StartLane = Callable[..., Awaitable[Lane]]


def values(answers: list[object]) -> list[object]:
    return [answer.code if isinstance(answer, Failed) else answer["x"] for answer in answers]


async def busy(lane: Lane) -> None:
    await eventually(
        lambda: any(worker.state is State.BUSY for worker in lane.keeper.workers), "a batch runs"
    )


# Batches.


async def test_every_example_gets_its_own_answer(start_lane: StartLane) -> None:
    lane = await start_lane("Echo")

    assert values(await ask_all(lane, *range(20))) == list(range(20))


async def test_what_arrives_together_runs_together(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", max_batch_size=4)

    answers = await ask_all(lane, 1, 2, 3, 4, 5)

    assert [answer["batch_size"] for answer in answers] == [4, 4, 4, 4, 1]


async def test_a_lone_example_leaves_when_its_window_closes(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", max_batch_size=4, max_queue_delay_seconds=0.05)

    answer = await ask(lane, 1)

    assert answer["batch_size"] == 1


async def test_while_the_worker_is_busy_the_next_batch_gathers(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    first = asyncio.create_task(ask(lane, 1))
    await busy(lane)
    rest = asyncio.create_task(ask_all(lane, 2, 3, 4))
    await eventually(lambda: lane.queued == 3, "three wait")

    gate.open_for(2)

    assert (await first)["batch_size"] == 1
    assert [answer["batch_size"] for answer in await rest] == [3, 3, 3]


async def test_two_workers_run_side_by_side(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", workers=2, max_batch_size=1, options=gate.options)
    await eventually(lambda: lane.keeper.ready() == 2, "both workers are ready")
    both = asyncio.create_task(ask_all(lane, 1, 2))
    await eventually(
        lambda: all(worker.state is State.BUSY for worker in lane.keeper.workers), "both run"
    )

    gate.open_for(2)

    assert len({answer["pid"] for answer in await both}) == 2


async def test_nothing_is_left_for_a_worker_that_is_long_overdue(
    start_lane: StartLane, gate: Gate
) -> None:
    now = [100.0]
    lane = await start_lane(
        "Gated", workers=2, max_batch_size=4, options=gate.options, clock=lambda: now[0]
    )
    await eventually(lambda: lane.keeper.ready() == 2, "both workers are ready")
    for size in (1, 2, 4):
        lane.cost.observe(size, 0.002 + 0.01 * size, running=2)
    first = asyncio.create_task(ask(lane, 1))
    await busy(lane)

    now[0] += 10.0
    rest = asyncio.create_task(ask_all(lane, 2, 3, 4, 5))
    await eventually(lambda: len(lane.keeper.idle()) == 0, "both are busy")
    gate.open_for(5)

    assert [answer["batch_size"] for answer in await rest] == [4, 4, 4, 4]
    await first


async def test_shapes_are_never_mixed(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", inputs={"x": InputSpec("float32", (-1,))})
    short, long = ({"x": Tensor.from_array(np.ones(length, np.float32))} for length in (1, 2))
    outcomes: list[Outcome] = []

    for inputs in (short, long, short):
        lane.submit(inputs, {}, None, outcomes.append)
    await eventually(lambda: len(outcomes) == 3, "all are answered")

    assert sorted(outcome.batch_size for outcome in outcomes) == [1, 2, 2]


async def test_device_and_options_of_torch_reach_the_model(start_lane: StartLane) -> None:
    options = TorchOptions("bfloat16", "reduce-overhead")
    lane = await start_lane("Surrounded", device="cuda:1", torch=options)

    answer = await ask(lane, 1)

    assert answer == {"device": "cuda:1", "precision": "bfloat16", "compile": "reduce-overhead"}


async def test_parameters_reach_their_own_example(start_lane: StartLane) -> None:
    lane = await start_lane("Echo")

    plain, asked = await asyncio.gather(ask(lane, 1), ask(lane, 2, words=["a", None]))

    assert (plain["parameters"], asked["parameters"]) == ({}, {"words": ["a", None]})


@pytest.mark.parametrize("length", [3, 300 * 2**20], ids=["shared memory", "through the socket"])
async def test_arrays_come_back_as_they_were(start_lane: StartLane, length: int) -> None:
    lane = await start_lane("Arrays", options={"length": length})

    answer = await ask(lane, 21)

    assert answer["doubled"].array().tolist() == [42.0]
    assert answer["empty"].shape == (0, 4)
    assert answer["ramp"].shape == (length,)
    assert answer["ramp"].array()[-1] == (length - 1) % 256


# One bad example fails alone.


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("Raises", Code.MODEL_ERROR),
        ("Quits", Code.MODEL_ERROR),
        ("Crashes", Code.WORKER_CRASHED),
        ("Miscounts", Code.INVALID_OUTPUT),
        ("RunsOut", Code.OUT_OF_MEMORY),
        ("SaysNan", Code.INVALID_OUTPUT),
        ("Refuses", "unlucky"),
    ],
)
async def test_whoever_spoils_a_batch_fails_alone(
    start_lane: StartLane, model: str, code: str
) -> None:
    lane = await start_lane(model)

    answers = await ask_all(lane, 1, 2, POISON, 4, 5)

    assert values(answers) == [1, 2, code, 4, 5]
    assert lane.bouncer.occupied == 0


@pytest.mark.parametrize("model", ["Raises", "Quits", "Miscounts", "SaysNan", "Refuses", "RunsOut"])
async def test_what_a_model_says_costs_no_process(start_lane: StartLane, model: str) -> None:
    lane = await start_lane(model)

    await ask_all(lane, 1, 2, POISON, 4, 5)

    assert lane.keeper.restarts == 0


async def test_an_answer_that_is_not_what_was_declared_costs_its_own_example(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("TurnsToText", outputs={"x": {"type": "number"}})

    answers = await ask_all(lane, 1, POISON, 3)

    assert values(answers) == [1, Code.INVALID_OUTPUT, 3]
    assert answers[1].detail == "x is string, declared is number"
    assert lane.keeper.restarts == 0


# Memory.


async def test_where_memory_runs_out_batches_are_halved_until_there_is_enough(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("RunsOut", max_batch_size=16, options={"room": 5})

    first = await ask_all(lane, *range(20, 36))
    halved = lane.departures[Reason.AGAIN]
    again = await ask_all(lane, *range(20, 36))

    assert values(first) == values(again) == list(range(20, 36))
    assert lane.departures[Reason.AGAIN] == halved > 0
    assert lane.largest_batch == 4
    assert max(answer["batch_size"] for answer in again) <= 4
    assert lane.keeper.restarts == 0
    assert not lane.trial.killers


async def test_what_there_is_no_memory_for_cannot_be_tuned(start_lane: StartLane) -> None:
    lane = await start_lane("RunsOut", max_batch_size=16, options={"room": 5})
    await ask_all(lane, *range(20, 36))
    assert lane.lacks_memory

    lane.tune(Tuning(64, 32, 0.0, 1))
    answers = await ask_all(lane, *range(20, 52))

    assert max(answer["batch_size"] for answer in answers) <= 4
    assert lane.tuning.max_batch_size == 32
    lane.tune(Tuning(64, 2, 0.0, 2))
    assert (lane.largest_batch, lane.lacks_memory) == (2, False)


async def test_one_that_takes_all_memory_alone_makes_no_batch_smaller(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("RunsOut", max_batch_size=16)

    answers = await ask_all(lane, *range(20, 35), POISON)

    assert values(answers) == [*range(20, 35), Code.OUT_OF_MEMORY]
    assert lane.largest_batch == 16
    with pytest.raises(Refused) as refused:
        await ask(lane, POISON)
    assert refused.value.code is Code.OUT_OF_MEMORY


async def test_one_for_whom_there_was_no_memory_once_is_run_alone_once_more(
    start_lane: StartLane,
) -> None:
    """Somebody else may have had it, and may have given it back."""
    lane = await start_lane("RunsOut", options={"others": 1})

    assert values(await ask_all(lane, 7)) == [7]
    assert not lane.trial.killers
    assert lane.departures[Reason.AGAIN] == 1


async def test_what_others_took_of_the_memory_does_not_make_batches_large_again(
    start_lane: StartLane,
) -> None:
    """One of a batch that ran out alone, and then did not, was not to blame for the batch."""
    lane = await start_lane("RunsOut", max_batch_size=2, options={"others": 2})

    assert values(await ask_all(lane, 7, 8)) == [7, 8]
    assert lane.largest_batch == 1


async def test_whoever_hangs_fails_alone_and_costs_the_worker_its_life(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Hangs", predict_timeout_seconds=0.6)
    [worker] = lane.keeper.workers
    pid = worker.pid

    answers = await ask_all(lane, 1, POISON, 3)

    assert values(answers) == [1, Code.PREDICT_TIMEOUT, 3]
    await eventually(lambda: not alive(pid), "it is dead")


async def test_the_invalid_are_told_in_the_models_words(start_lane: StartLane) -> None:
    lane = await start_lane("Refuses")

    assert await ask(lane, POISON) == Failed("unlucky", "unlucky number", invalid_input=True)


async def test_two_invalid_ones_of_one_batch_are_both_found(start_lane: StartLane) -> None:
    lane = await start_lane("Refuses")

    answers = await ask_all(lane, POISON, 2, POISON)

    assert values(answers) == ["unlucky", 2, "unlucky"]
    assert answers[1]["batch_size"] == 1


async def test_a_model_may_print_what_it_likes(start_lane: StartLane) -> None:
    lane = await start_lane("Prints")

    assert (await ask(lane, 1))["x"] == 1


# Two batches of one worker.


async def two_in_flight(lane: Lane, *values: float) -> tuple[list[Outcome], list[Example]]:
    """A batch of two runs and one waits in the worker. The outcomes, as they come."""
    # As if learned: two together are cheap, and soon done.
    lane.cost.observe(1, 0.01)
    lane.cost.observe(2, 0.011)
    outcomes: list[Outcome] = []
    examples = [lane.submit(x(value), {}, None, outcomes.append) for value in values]
    await asyncio.sleep(0)  # the turn in which the lane decides
    [worker] = lane.keeper.workers
    assert worker.state is State.BUSY
    assert not worker.takes_next
    return outcomes, examples


async def all_left(lane: Lane) -> None:
    await eventually(lambda: lane.bouncer.occupied == 0, "nobody is in any more")


async def test_the_next_batch_waits_in_the_worker(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", max_batch_size=2, options=gate.options)

    outcomes, _ = await two_in_flight(lane, 1, 2, 3, 4, 5)
    assert lane.queued == 1
    gate.open_for(3)
    await eventually(lambda: len(outcomes) == 5, "all are answered")

    answers = [read(outcome) for outcome in outcomes]
    assert [(answer["x"], answer["batch_size"]) for answer in answers] == [
        (1, 2), (2, 2), (3, 2), (4, 2), (5, 1),
    ]  # fmt: skip


async def test_inputs_and_outputs_of_two_batches_do_not_mix(start_lane: StartLane) -> None:
    lane = await start_lane("Arrays", max_batch_size=2)

    answers = await ask_all(lane, *range(64))

    assert [answer["doubled"].array()[0] for answer in answers] == [2 * n for n in range(64)]


async def test_a_worker_killed_with_a_batch_waiting_costs_nobody_an_answer_and_blames_one_batch(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", max_batch_size=2, options=gate.options)
    outcomes, _ = await two_in_flight(lane, 1, 2, 3, 4)

    os.kill(lane.keeper.workers[0].pid, signal.SIGKILL)
    gate.open_for(10)
    await all_left(lane)

    sizes = {read(outcome)["x"]: outcome.batch_size for outcome in outcomes}
    assert len(outcomes) == 4
    assert sizes == {1: 1, 2: 1, 3: 2, 4: 2}


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("Hangs", Code.PREDICT_TIMEOUT),
        ("Crashes", Code.WORKER_CRASHED),
        ("Raises", Code.MODEL_ERROR),
    ],
)
async def test_whoever_spoils_a_batch_leaves_the_one_behind_it_alone(
    start_lane: StartLane, model: str, code: Code
) -> None:
    lane = await start_lane(model, max_batch_size=2, predict_timeout_seconds=0.6)

    outcomes, _ = await two_in_flight(lane, POISON, 2, 3, 4)
    await all_left(lane)

    answers = [read(outcome) for outcome in outcomes]
    assert sorted(values(answers), key=str) == [2, 3, 4, code]
    assert {each["x"]: each["batch_size"] for each in answers if isinstance(each, dict)} == {
        2: 1, 3: 2, 4: 2,
    }  # fmt: skip


async def test_a_batchs_time_begins_when_the_one_before_has_ended(start_lane: StartLane) -> None:
    lane = await start_lane(
        "Sleeps", max_batch_size=2, predict_timeout_seconds=0.95, options={"seconds": 0.5}
    )
    outcomes, _ = await two_in_flight(lane, 1, 2, 3, 4)
    await eventually(lambda: len(outcomes) == 4, "all are answered")

    assert values([read(outcome) for outcome in outcomes]) == [1, 2, 3, 4]
    assert lane.keeper.restarts == 0
    assert outcomes[2].queue_seconds > 0.45


async def test_a_batch_that_waited_hangs_no_longer_than_another(start_lane: StartLane) -> None:
    lane = await start_lane("Hangs", max_batch_size=2, predict_timeout_seconds=0.6)

    outcomes, _ = await two_in_flight(lane, 1, 2, POISON, 4)
    await all_left(lane)

    answers = values([read(outcome) for outcome in outcomes])
    assert sorted(answers, key=str) == [1, 2, 4, Code.PREDICT_TIMEOUT]


async def test_the_abandoned_of_a_waiting_batch_are_not_told(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", max_batch_size=2, options=gate.options)
    outcomes, examples = await two_in_flight(lane, 1, 2, 3, 4)

    for example in examples[2:]:
        lane.abandon(example)
    gate.open_for(2)
    await all_left(lane)

    assert values([read(outcome) for outcome in outcomes]) == [1, 2]
    assert lane.bouncer.endings[Ending.ABANDONED] == 2


async def test_while_another_worker_is_idle_no_batch_waits(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", workers=2, max_batch_size=2, options=gate.options)
    await eventually(lambda: lane.keeper.ready() == 2, "both workers are ready")
    lane.cost.observe(2, 0.01, running=2)
    outcomes: list[Outcome] = []

    for value in (1, 2, 3, 4):
        lane.submit(x(value), {}, None, outcomes.append)
    await eventually(lambda: lane.queued == 0, "all are on their way")
    assert all(worker.takes_next for worker in lane.keeper.workers)

    gate.open_for(2)
    await eventually(lambda: len(outcomes) == 4, "all are answered")


# Workers end.


async def test_a_worker_killed_in_mid_batch_costs_nobody_an_answer(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    answers = asyncio.create_task(ask_all(lane, 1, 2, 3, 4, 5))
    await busy(lane)

    os.kill(lane.keeper.workers[0].pid, signal.SIGKILL)
    gate.open_for(10)

    assert values(await answers) == [1, 2, 3, 4, 5]
    assert lane.keeper.restarts == 1
    assert lane.bouncer.endings == {Ending.COMPLETED: 5}


async def kill_the_worker(lane: Lane) -> None:
    pid = lane.keeper.workers[0].pid
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: lane.keeper.workers[0].pid != pid, "another follows")


async def test_a_worker_killed_from_outside_twice_is_no_fault_of_the_example_that_it_ran(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    answer = asyncio.create_task(ask(lane, 1))

    for _ in range(2):
        await busy(lane)
        await kill_the_worker(lane)
    gate.open_for(1)

    assert (await answer)["x"] == 1


async def test_a_stopped_worker_is_killed_when_its_time_is_over_and_blames_nobody(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", predict_timeout_seconds=0.6)
    [worker] = lane.keeper.workers
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)

    assert (await ask(lane, 1))["x"] == 1
    assert not alive(pid)


async def test_a_lone_example_is_tried_twice(start_lane: StartLane, tmp_path: Path) -> None:
    lane = await start_lane("CrashesOnce", options={"mark": str(tmp_path / "mark")})

    assert (await ask(lane, 1))["x"] == 1
    assert lane.keeper.restarts == 1


async def test_while_a_successor_loads_the_lane_goes_on_taking_examples(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo")
    os.kill(lane.keeper.workers[0].pid, signal.SIGKILL)
    await eventually(lambda: lane.keeper.ready() == 0, "the worker's end is noticed")

    assert lane.ready
    assert (await ask(lane, 1))["x"] == 1


async def test_without_a_successor_the_queue_is_told_and_nobody_enters(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane("LoadsOnce", options={"mark": str(tmp_path / "mark")})

    answers = await ask_all(lane, POISON, POISON)

    assert values(answers) == [Code.NOT_READY, Code.NOT_READY]
    assert not lane.ready
    with pytest.raises(Refused) as refused:
        lane.submit(x(1), {}, None, lambda outcome: None)
    assert refused.value.code is Code.NOT_READY
    assert lane.keeper.last_failure == "RuntimeError: the weights are gone"


async def test_what_a_worker_started_ends_with_it(start_lane: StartLane) -> None:
    lane = await start_lane("Parent")
    child = (await ask(lane, 1))["child"]
    assert alive(child)

    await ask(lane, POISON)

    await eventually(lambda: not alive(child), "the worker's own process is gone")


async def test_stopping_in_mid_batch_leaves_no_process(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", options=gate.options)
    lane.submit(x(1), {}, None, lambda outcome: None)
    await busy(lane)
    pid = lane.keeper.workers[0].pid

    assert alive(pid)

    await lane.stop()

    assert not alive(pid)


@pytest.mark.parametrize("turns", range(8))
async def test_stopping_while_a_worker_starts_leaves_no_process(
    start_lane: StartLane, turns: int
) -> None:
    before = children(os.getpid())
    lane = await start_lane("LoadsForEver", wait=False)
    for _ in range(turns):
        await asyncio.sleep(0)

    await lane.stop()

    assert children(os.getpid()) <= before


# Workers that do not come up.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "WillNotLoad"}, "FileNotFoundError: no weights"),
        ({"model": "QuitsWhileLoading"}, "SystemExit: no weights"),
        ({"model": "NotAModel"}, "zoo:NotAModel is not a subclass of minion.model.Model"),
        ({"model": "Missing"}, "module 'zoo' has no class 'Missing'"),
        ({"model": "Echo", "entry": "nothing:Echo"}, "the package has no module 'nothing'"),
        ({"model": "Echo", "python": "/no/such/python"}, "cannot be started: No such file"),
        ({"model": "LoadsForEver", "load_timeout_seconds": 0.2}, "took too long while starting"),
    ],
    ids=[
        *("load raises", "load quits", "not a model"),
        *("no class", "no module", "no interpreter", "no end"),
    ],
)
async def test_why_a_worker_does_not_come_up_is_known(
    start_lane: StartLane, changes: dict[str, object], reason: str
) -> None:
    lane = await start_lane(wait=False, **changes)

    await eventually(lambda: lane.keeper.restarts >= 2, "it was tried again")

    assert lane.keeper.last_failure is not None
    assert lane.keeper.last_failure.startswith(reason)
    assert "\n" not in lane.keeper.last_failure
    assert not lane.ready


async def test_a_worker_is_proved_by_a_batch_and_not_by_its_loading(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Crashes")
    [worker] = lane.keeper.workers

    assert not worker.proved
    await ask(lane, 1)
    assert worker.proved


async def test_who_dies_of_every_batch_is_started_ever_later_on_the_real_clock(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("DiesAbove")
    started = asyncio.get_running_loop().time()

    for number in range(4):  # and each of them is tried once more
        assert (await ask(lane, 101.0 + number)).code == Code.WORKER_CRASHED
    await eventually(lambda: lane.keeper.ready() == 1, "the last successor is ready")

    assert asyncio.get_running_loop().time() - started > 0.1 + 0.2 + 0.4 + 0.8 + 4 * 0.1


# Admission.


async def test_past_the_limit_is_refused_with_the_time_of_one_place(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", queue_limit=2, options=gate.options)
    answers = asyncio.create_task(ask_all(lane, 1, 2))
    await eventually(lambda: lane.bouncer.occupied == 2, "both are in")

    with pytest.raises(Refused) as refused:
        lane.submit(x(3), {}, None, lambda outcome: None)

    gate.open_for(2)
    await answers
    assert refused.value.code is Code.QUEUE_FULL
    assert refused.value.retry_after_seconds > 0


async def run_slowly(lane: Lane, gate: Gate, seconds: float) -> None:
    """One batch that takes about so long."""
    answer = asyncio.create_task(ask(lane, 1))
    await busy(lane)
    started = time.monotonic()
    await eventually(lambda: time.monotonic() > started + seconds, "it took so long")
    gate.open_for(1)
    await answer


async def test_a_promise_becomes_a_limit_with_the_first_batch(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane(
        "Gated", queue_limit=None, promise_seconds=1000.0, max_batch_size=1, options=gate.options
    )
    assert lane.bouncer.limit == 1

    await run_slowly(lane, gate, 0.1)

    assert 1000 < lane.bouncer.limit < 10_000
    assert lane.bouncer.limit == limit_of(1000.0, lane.basis)


async def test_tuning_to_a_promise_and_back_moves_the_limit_and_tells(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options, max_batch_size=1)
    await run_slowly(lane, gate, 0.1)
    limits: list[int] = []
    lane.on_change.append(lambda: limits.append(lane.bouncer.limit))

    lane.tune(Tuning(None, 1, 0.0, 1, 0.05))
    assert lane.bouncer.limit == 1
    lane.tune(Tuning(7, 1, 0.0, 2))

    assert limits[0] == 1
    assert limits[-1] == lane.bouncer.limit == 7


async def test_who_would_not_be_answered_in_time_is_refused_at_once(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", max_batch_size=1, options=gate.options)
    await run_slowly(lane, gate, 0.2)
    answers = asyncio.create_task(ask_all(lane, 1, 2, 3))
    await eventually(lambda: lane.bouncer.occupied == 3, "three are before it")

    with pytest.raises(Refused) as refused:
        lane.submit(x(4), {}, 0.1, lambda outcome: None)

    gate.open_for(3)
    await answers
    numbers = refused.value.numbers
    assert refused.value.code is Code.DEADLINE_UNMEETABLE
    assert numbers["expected_seconds"] > 3 * 0.2 > numbers["left_seconds"] == 0.1
    assert refused.value.retry_after_seconds == numbers["expected_seconds"] - 0.1
    assert (lane.bouncer.too_late, lane.bouncer.admitted) == (1, 4)


async def test_an_empty_lane_lets_everybody_in_whatever_was_learned(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", max_batch_size=1, options=gate.options)
    await run_slowly(lane, gate, 0.2)

    example = lane.submit(x(4), {}, 0.01, lambda outcome: None)

    assert (lane.bouncer.occupied, lane.bouncer.too_late) == (1, 0)
    lane.abandon(example)
    gate.open_for(1)


async def test_a_lower_limit_throws_nobody_out(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", options=gate.options)
    answers = asyncio.create_task(ask_all(lane, 1, 2, 3))
    await eventually(lambda: lane.bouncer.occupied == 3, "all are in")

    lane.tune(Tuning(1, 8, 0.0, 1))
    with pytest.raises(Refused) as refused:
        lane.submit(x(4), {}, None, lambda outcome: None)
    gate.open_for(3)

    assert values(await answers) == [1, 2, 3]
    assert refused.value.detail == "3 examples are queued or running, the limit is 1"
    assert refused.value.retry_after_seconds == 3.0


async def test_older_settings_are_ignored(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", settings_revision=5)

    assert lane.tune(Tuning(1, 1, 0.0, 4)) == lane.tuning == Tuning(64, 8, 0.0, 5)


@pytest.mark.parametrize(
    ("inputs", "detail"),
    [
        ({}, "inputs are [], expected ['x']"),
        ({"y": Tensor.from_array(np.ones(1, np.float32))}, "inputs are ['y'], expected ['x']"),
        (
            {"x": Tensor.from_array(np.ones(1, np.int8))},
            "input 'x': dtype is int8, expected float32",
        ),
        (
            {"x": Tensor.from_array(np.ones(2, np.float32))},
            "input 'x': shape is [2], expected [1]",
        ),
    ],
    ids=["none", "another", "dtype", "shape"],
)
async def test_inputs_that_are_not_the_models_are_refused(
    start_lane: StartLane, inputs: dict[str, Tensor], detail: str
) -> None:
    lane = await start_lane("Echo")

    with pytest.raises(Refused) as refused:
        lane.submit(inputs, {}, None, lambda outcome: None)

    assert (refused.value.code, refused.value.detail) == (Code.INVALID_INPUT, detail)
    assert lane.bouncer.admitted == 0


async def test_before_the_model_has_loaded_nobody_enters(start_lane: StartLane) -> None:
    lane = await start_lane("LoadsForEver", wait=False)

    with pytest.raises(Refused) as refused:
        lane.submit(x(1), {}, None, lambda outcome: None)

    assert refused.value.code is Code.NOT_READY


# Nothing is computed for nobody.


async def test_the_abandoned_leave_the_queue(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", max_batch_size=1, options=gate.options)
    outcomes: list[Outcome] = []
    lane.submit(x(1), {}, None, outcomes.append)
    await busy(lane)
    waiting = lane.submit(x(2), {}, None, outcomes.append)

    lane.abandon(waiting)
    gate.open_for(1)
    await eventually(lambda: lane.bouncer.occupied == 0, "the lane is empty")

    assert len(outcomes) == 1
    assert lane.bouncer.endings == {Ending.ABANDONED: 1, Ending.COMPLETED: 1}


async def test_the_abandoned_that_run_keep_their_place_until_the_end(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    outcomes: list[Outcome] = []
    running = lane.submit(x(1), {}, None, outcomes.append)
    await busy(lane)

    lane.abandon(running)
    assert lane.bouncer.occupied == 1
    gate.open_for(1)
    await eventually(lambda: lane.bouncer.occupied == 0, "the batch has ended")

    assert outcomes == []
    assert lane.bouncer.endings == {Ending.ABANDONED: 1}


async def test_the_expired_do_not_reach_the_model(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", options=gate.options)
    outcomes: list[Outcome] = []
    lane.submit(x(1), {}, None, outcomes.append)
    await busy(lane)
    lane.submit(x(2), {}, 0.0, outcomes.append)

    gate.open_for(1)
    await eventually(lambda: len(outcomes) == 2, "both are told")

    assert Failed(Code.DEADLINE_EXCEEDED, "the deadline passed") in outcomes
    assert lane.bouncer.endings == {Ending.EXPIRED: 1, Ending.COMPLETED: 1}


async def test_who_expires_in_the_queue_is_told_then_and_has_left_though_the_worker_is_busy(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options, queue_limit=3)
    outcomes: list[Outcome] = []
    lane.submit(x(1), {}, None, outcomes.append)
    await busy(lane)
    for timeout in (20.0, 0.02):
        lane.submit(x(2), {}, timeout, outcomes.append)

    await eventually(lambda: len(outcomes) == 1, "one is told, while the batch still runs")

    assert outcomes == [Failed(Code.DEADLINE_EXCEEDED, "the deadline passed")]
    assert (lane.bouncer.occupied, lane.queued) == (2, 1)
    lane.submit(x(3), {}, None, outcomes.append)  # there is room again


async def test_who_expires_while_a_successor_loads_is_told_then(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    outcomes: list[Outcome] = []
    lane.submit(x(1), {}, 0.05, outcomes.append)
    await busy(lane)

    os.kill(lane.keeper.workers[0].pid, signal.SIGKILL)
    await eventually(lambda: len(outcomes) == 1, "it is told")

    assert outcomes == [Failed(Code.DEADLINE_EXCEEDED, "the deadline passed")]
    assert lane.bouncer.endings == {Ending.EXPIRED: 1}


async def test_of_a_hundred_that_wait_only_those_run_for_whom_somebody_waits(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options, queue_limit=200, max_batch_size=4)
    sizes: list[int] = []
    lane.on_batch.append(lambda size, seconds: sizes.append(size))
    outcomes: list[Outcome] = []
    for value in range(4):
        lane.submit(x(value), {}, None, outcomes.append)
    await busy(lane)
    waiting = [lane.submit(x(value), {}, None, outcomes.append) for value in range(100)]

    for example in waiting[:45] + waiting[55:]:
        lane.abandon(example)
    gate.open_for(40)
    await all_left(lane)

    assert sum(sizes) == 4 + 10
    assert len(outcomes) == 14
    assert lane.bouncer.endings == {Ending.ABANDONED: 90, Ending.COMPLETED: 14}


async def test_one_callers_many_do_not_hold_up_anothers_one(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options, max_batch_size=1)
    order: list[str] = []

    def submit(caller: int, name: str) -> None:
        lane.submit(x(1), {}, None, lambda outcome: order.append(name), Flow(0, caller))

    for _ in range(20):
        submit(1, "many")
    await busy(lane)
    submit(2, "one")
    gate.open_for(21)
    await eventually(lambda: len(order) == 21, "all are answered")

    assert "one" in order[:3]


async def test_what_was_not_computed_for_nobody_is_counted_in_device_seconds(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options, max_batch_size=1)
    lane.savings.ran(2 * lane.submit(x(1), {}, None, lambda outcome: None).group.work, 1.0)
    await busy(lane)
    outcomes: list[Outcome] = []
    lane.submit(x(2), {}, 0.01, outcomes.append)
    for _ in range(3):
        lane.abandon(lane.submit(x(3), {}, None, outcomes.append))

    await eventually(lambda: len(outcomes) == 1, "one has expired")

    assert lane.savings.seconds == {
        Ending.EXPIRED: pytest.approx(0.5),
        Ending.ABANDONED: pytest.approx(1.5),
    }


async def test_a_caller_cancelled_as_its_batch_ends_takes_nobody_along(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    first, second = (asyncio.create_task(run_one(lane, x(value), {})) for value in (1, 2))
    await busy(lane)
    # Cancelled, but not yet run again, when its outcome comes.
    lane.on_batch.append(lambda size, seconds: first.cancel())

    gate.open_for(1)

    assert read(await second)["x"] == 2
    with pytest.raises(asyncio.CancelledError):
        await first
    assert lane.bouncer.occupied == 0


# Drain.


async def test_draining_answers_what_is_in_and_lets_nobody_in(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    answers = asyncio.create_task(ask_all(lane, 1, 2))
    await busy(lane)
    draining = asyncio.create_task(lane.drain(60.0))
    await eventually(lambda: lane.draining, "it drains")

    with pytest.raises(Refused) as refused:
        lane.submit(x(3), {}, None, lambda outcome: None)
    gate.open_for(2)
    await asyncio.wait_for(draining, 20)

    assert refused.value.code is Code.DRAINING
    assert values(await answers) == [1, 2]
    assert not lane.ready


async def test_draining_ends_with_its_grace(start_lane: StartLane, gate: Gate) -> None:
    lane = await start_lane("Gated", options=gate.options)
    lane.submit(x(1), {}, None, lambda outcome: None)
    await busy(lane)

    await asyncio.wait_for(lane.drain(0.05), 20)

    assert lane.bouncer.occupied == 1


async def test_readiness_is_told_when_it_changes(start_lane: StartLane) -> None:
    lane = await start_lane("Echo", wait=False)
    seen: list[bool] = []
    lane.on_change.append(lambda: seen.append(lane.ready))

    await eventually(lambda: lane.ready, "it is ready")
    await ask_all(lane, 1, 2)
    await ask(lane, 3)
    await lane.drain(1.0)

    assert seen == [True, False]
