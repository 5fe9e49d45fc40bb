"""Links that break under an example: who answers in place of the one that was lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np
import pytest
from stage import MODELS, Gate, Host, Stage

from coordinator.errors import NotServing, WorkerCrashed
from coordinator.fleet import Fleet
from coordinator.replica import Replica
from coordinator.ticket import Prediction, Ticket
from tests.waiting import eventually
from wire.tensor import Tensor
from wire.tuning import Tuning


def x(*values: float) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array(values, np.float32))}


def said(prediction: Prediction) -> list[float]:
    values: list[float] = prediction.output["x"].array().tolist()
    return values


async def gated(stage: Stage) -> tuple[Gate, Host, Fleet, Replica]:
    """One replica, whose model answers when its gate is opened."""
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    fleet = Fleet("test")
    stage.exits.callback(fleet.stop)
    fleet.update([host.place])
    await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")
    (replica,) = fleet.all()
    return gate, host, fleet, replica


@contextmanager
def asking(
    fleet: Fleet, value: float, within: float = 20.0
) -> Iterator[tuple[Ticket, asyncio.Task[Prediction]]]:
    with fleet.reserve("gate", "1.0.0") as ticket:
        deadline = time.monotonic() + within
        yield ticket, asyncio.create_task(ticket.predict(x(value), {}, deadline))


@asynccontextmanager
async def lost(gate: Gate, host: Host, *, for_good: bool = False) -> AsyncIterator[None]:
    """The link breaks while the model predicts, which it does until the block ends."""
    async with gate.held():
        if for_good:
            os.unlink(host.address.removeprefix("unix:"))  # nobody gets there any more
        host.hang_up()
        yield


async def test_what_was_in_flight_is_answered_when_the_link_is_back(stage: Stage) -> None:
    gate, host, fleet, replica = await gated(stage)
    with asking(fleet, 1) as (_, one), asking(fleet, 2) as (_, two), asking(fleet, 3) as (_, three):
        async with lost(gate, host):
            await eventually(lambda: len(fleet.second_attempts) == 3, "all are lost")
            assert replica.taken == 3, "their places are kept"
        with gate.open():
            answers = await asyncio.gather(one, two, three)

    assert [said(each) for each in answers] == [[1.0], [2.0], [3.0]]
    assert {each.lost.replica for each in answers if each.lost} == {replica.place.id}
    assert (replica.taken, len(fleet.second_attempts)) == (0, 0)
    await eventually(lambda: host.lane.bouncer.occupied == 0, "the host has let them go")


async def test_those_who_were_lost_go_one_after_another_where_the_limit_is_lower_by_now(
    stage: Stage,
) -> None:
    gate, host, fleet, replica = await gated(stage)

    async def ask(value: float) -> list[float]:
        with asking(fleet, value) as (_, asked):
            return said(await asked)

    answers = asyncio.gather(ask(1), ask(2), ask(3))
    async with lost(gate, host):
        await fleet.tune("gate", "1.0.0", Tuning(2, 1, 0.0, 9))
        await eventually(lambda: host.lane.tuning.queue_limit == 2, "it is in force")
    with gate.open():
        assert await answers == [[1.0], [2.0], [3.0]]

    assert replica.taken == 0


async def test_another_replica_answers_for_the_one_that_was_lost(stage: Stage) -> None:
    gate, host, fleet, first = await gated(stage)
    with asking(fleet, 7) as (ticket, asked):
        other = await stage.host("gate", replica="gate-1.0.0-1")
        fleet.update([host.place, other.place])
        second = next(each for each in fleet.all() if each is not first)
        await eventually(lambda: second.ready, "both are connected")
        async with lost(gate, host, for_good=True):
            answer = await asked
            assert ticket.place == other.place
            assert (first.taken, second.taken) == (0, 1)

    assert said(answer) == [7.0]
    assert answer.lost is not None
    assert (answer.replica, answer.lost.replica) == ("gate-1.0.0-1", "gate-1.0.0-0")
    assert answer.lost.seconds > 0
    assert (first.taken, second.taken) == (0, 0)


@asynccontextmanager
async def refused_by_another(
    stage: Stage, within: float
) -> AsyncIterator[tuple[Gate, Host, asyncio.Task[Prediction]]]:
    """Its replica is lost, and the other one has been filled without this coordinator's knowing."""
    gate, host, fleet, first = await gated(stage)
    full = stage.gate("full")
    other = await stage.host(
        "gate", replica="gate-1.0.0-1", queue_limit=1, options={"gate": str(full.path)}
    )
    with asking(fleet, 7, within) as (_, asked):
        fleet.update([host.place, other.place])
        second = next(each for each in fleet.all() if each is not first)
        await eventually(lambda: second.ready, "both are connected")
        other.lane.submit(x(0), {}, None, lambda _: None)
        async with lost(gate, host, for_good=True):
            await eventually(lambda: other.lane.bouncer.refused, "the other one refuses it")
            yield full, other, asked
    assert (first.taken, second.taken, len(fleet.second_attempts)) == (0, 0, 0)


async def test_who_was_lost_and_finds_the_other_replica_full_is_answered_when_it_has_room(
    stage: Stage,
) -> None:
    async with refused_by_another(stage, within=20.0) as (full, other, asked):
        with full.open():
            await eventually(lambda: not other.lane.bouncer.occupied, "there is room")
            for link in list(other.links):
                link.push_status()
            answer = await asked

    assert said(answer) == [7.0]
    assert answer.replica == "gate-1.0.0-1"
    assert answer.lost is not None
    assert answer.lost.replica == "gate-1.0.0-0"


async def test_who_was_lost_and_finds_no_room_in_time_is_not_told_that_the_queue_is_full(
    stage: Stage,
) -> None:
    async with refused_by_another(stage, within=2.0) as (_, _, asked):
        with pytest.raises(NotServing) as refused:  # and not QueueFull: it had been let in
            await asked

    assert refused.value.retry_after


async def test_who_was_lost_and_is_let_in_where_the_model_then_fails_waits_until_it_is_loaded(
    stage: Stage,
) -> None:
    gate, host, fleet, _ = await gated(stage)
    full, package = stage.gate("full"), shutil.copytree(MODELS / "gate", stage.home / "other")
    source, away = package / "gate.py", package / "away"
    other = await stage.host(
        "gate",
        replica="gate-1.0.0-1",
        directory=str(package),
        options={"gate": str(full.path)},
    )
    with asking(fleet, 7) as (_, asked):
        fleet.update([host.place, other.place])
        await eventually(lambda: all(each.ready for each in fleet.all()), "both are connected")
        other.lane.submit(x(0), {}, None, lambda _: None)  # behind which it waits
        async with lost(gate, host, for_good=True):
            await eventually(lambda: other.lane.bouncer.admitted == 2, "the other one lets it in")
            source.rename(away)
            other.lane.keeper.workers[0].kill()
            await eventually(
                lambda: asked.done() or len(fleet.second_attempts) == 1, "it is refused: not ready"
            )
            away.rename(source)
            with full.open():
                answer = await asked

    assert said(answer) == [7.0]
    assert answer.replica == "gate-1.0.0-1"
    assert answer.lost is not None
    assert answer.lost.replica == "gate-1.0.0-0"
    assert other.lane.bouncer.admitted == 3


async def test_who_must_not_be_computed_twice_is_not_told_to_come_again(
    stage: Stage,
) -> None:
    gate, host, fleet, _ = await gated(stage)
    fleet.second_attempts.only_once = frozenset({("gate", "1.0.0")})
    with asking(fleet, 1) as (_, one), asking(fleet, 2) as (_, two):
        async with lost(gate, host):
            errors = await asyncio.gather(one, two, return_exceptions=True)

    assert [type(each) for each in errors] == [WorkerCrashed] * 2
    assert len(set(map(id, errors))) == 2, "an error is raised by one request alone"
    assert not any(each.retryable for each in errors if isinstance(each, WorkerCrashed))
    assert host.lane.bouncer.admitted == 2


async def test_without_anybody_listed_the_answer_is_503_at_once(stage: Stage) -> None:
    gate, host, fleet, _ = await gated(stage)
    with asking(fleet, 1) as (_, asked):
        async with lost(gate, host, for_good=True):
            fleet.update([])
            with pytest.raises(NotServing) as refused:
                async with asyncio.timeout(10):  # and not at the deadline, in twenty
                    await asked

    assert refused.value.retry_after
    assert len(fleet.second_attempts) == 0


async def test_who_waits_for_a_replica_in_vain_is_told_before_the_deadline(stage: Stage) -> None:
    gate, host, fleet, _ = await gated(stage)
    with asking(fleet, 1, within=2.0) as (_, asked):
        async with lost(gate, host, for_good=True):
            with pytest.raises(NotServing):  # and not DeadlineExceeded
                await asked


async def test_who_leaves_while_waiting_for_a_replica_leaves_nothing(stage: Stage) -> None:
    gate, host, fleet, replica = await gated(stage)
    with asking(fleet, 1) as (_, asked):
        async with lost(gate, host, for_good=True):
            await eventually(lambda: len(fleet.second_attempts) == 1, "it is lost")
            asked.cancel()
            await asyncio.wait([asked])

    assert (replica.taken, len(fleet.second_attempts)) == (0, 0)


async def test_nothing_is_sent_a_third_time(stage: Stage) -> None:
    gate, host, fleet, _ = await gated(stage)
    with asking(fleet, 1) as (_, asked):
        async with lost(gate, host):
            await eventually(lambda: host.lane.bouncer.admitted == 2, "it is sent once more")
            host.hang_up()
            with pytest.raises(NotServing):
                await asked

    assert host.lane.bouncer.admitted == 2


async def test_what_a_draining_host_refuses_another_one_answers_whatever_it_is(
    stage: Stage,
) -> None:
    gate, host, fleet, first = await gated(stage)
    fleet.second_attempts.only_once = frozenset({("gate", "1.0.0")})
    with asking(fleet, 1) as (_, asked), fleet.reserve("gate", "1.0.0") as late:
        other = await stage.host("gate", replica="gate-1.0.0-1")
        fleet.update([host.place, other.place])
        await eventually(lambda: all(each.ready for each in fleet.all()), "both are connected")
        async with gate.held():
            stopping = asyncio.create_task(host.stop())
            await eventually(lambda: not first.ready, "it drains")
            answer = await late.predict(x(2), {}, time.monotonic() + 20)
        assert said(await asked) == [1.0]
        await stopping

    assert (said(answer), answer.replica) == ([2.0], "gate-1.0.0-1")
