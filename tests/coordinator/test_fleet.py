"""Tickets, links and who gets the work: against real hosts with real workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

import numpy as np
import pytest
from stage import Host, Stage

from coordinator.errors import DeadlineUnmeetable, NotServing, QueueFull
from coordinator.fleet import Fleet
from coordinator.outstanding import settling
from coordinator.parcels import Parcels
from coordinator.replica import Replica
from coordinator.ticket import Prediction
from tests.waiting import eventually
from wire.tensor import Tensor
from wire.tuning import Tuning

MIB = 2**20


def x(*values: float) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array(values, np.float32))}


async def fleet_of(stage: Stage, *hosts: Host) -> Fleet:
    fleet = Fleet("test")
    fleet.update(host.place for host in hosts)
    stage.exits.callback(fleet.stop)
    for host in hosts:
        await eventually(lambda p=host.place: fleet.ready(p.model, p.version), "it is connected")
    return fleet


def soon() -> float:
    return time.monotonic() + 20


async def test_a_ticket_is_a_place_until_it_is_closed(stage: Stage) -> None:
    stage.publish("gate")
    fleet = await fleet_of(stage, await stage.host("gate", queue_limit=2))

    first, second = fleet.reserve("gate", "1.0.0"), fleet.reserve("gate", "1.0.0")
    with pytest.raises(QueueFull, match="has 2 examples queued or running, its limit is 2"):
        fleet.reserve("gate", "1.0.0")
    first.close()
    first.close()
    third = fleet.reserve("gate", "1.0.0")
    with pytest.raises(QueueFull):
        fleet.reserve("gate", "1.0.0")

    second.close()
    third.close()
    (replica,) = fleet.all()
    assert (replica.taken, replica.room) == (0, 2)


def measured(replica: Replica) -> bool:
    """Whether it has pushed what it learned of a batch."""
    status = replica.status
    return status is not None and status.seconds_per_example > 0


async def slow(stage: Stage, seconds: float, **settings: Any) -> tuple[Fleet, Replica]:
    """A fleet that has learned that a batch takes about so long."""
    gate = stage.gate()
    stage.publish("gate")
    host = await stage.host("gate", options={"gate": str(gate.path)}, **settings)
    fleet = await fleet_of(stage, host)
    (replica,) = fleet.all()
    with fleet.reserve("gate", "1.0.0") as ticket:
        asked = asyncio.ensure_future(ticket.predict(x(1), {}, soon()))
        async with gate.held():
            started = time.monotonic()
            await eventually(lambda: time.monotonic() > started + seconds, "it took so long")
        await asked
    await eventually(lambda: measured(replica), "the host has told how long one takes")
    return fleet, replica


async def test_who_would_not_be_answered_in_time_is_refused_at_once(stage: Stage) -> None:
    fleet, replica = await slow(stage, 0.2)

    with fleet.reserve("gate", "1.0.0"), fleet.reserve("gate", "1.0.0"):
        expected = replica.expected_seconds()
        with pytest.raises(DeadlineUnmeetable) as refused:
            fleet.reserve("gate", "1.0.0", deadline=time.monotonic() + 0.1)
        fleet.reserve("gate", "1.0.0", deadline=time.monotonic() + 5).close()
        fleet.reserve("gate", "1.0.0").close()

    assert expected > 0.2
    left = refused.value.members["left_seconds"]
    assert refused.value.members["expected_seconds"] == expected > left
    assert refused.value.retry_after == expected - left
    assert replica.taken == 0


async def test_an_empty_lane_lets_everybody_in_whatever_was_learned(stage: Stage) -> None:
    fleet, replica = await slow(stage, 0.2)

    with fleet.reserve("gate", "1.0.0", deadline=time.monotonic() + 0.001):
        assert replica.taken == 1


async def test_above_a_lowered_limit_the_wait_is_until_enough_have_left(stage: Stage) -> None:
    stage.publish("gate")
    fleet = await fleet_of(stage, await stage.host("gate", queue_limit=4))
    (replica,) = fleet.all()
    with fleet.reserve("gate", "1.0.0") as ticket:
        await ticket.predict(x(1), {}, soon())  # from now on it is known how long one takes
    await eventually(lambda: measured(replica), "the host has told how long one takes")
    status = replica.status
    assert status is not None

    with contextlib.ExitStack() as places:
        for _ in range(4):
            places.enter_context(fleet.reserve("gate", "1.0.0"))
        await fleet.tune("gate", "1.0.0", Tuning(2, 1, 0.0, 1))
        await eventually(lambda: replica.room < 0, "the host has told its new limit")
        with pytest.raises(QueueFull, match=r"has 4 examples .* its limit is 2") as refused:
            fleet.reserve("gate", "1.0.0")

    three = 3 * status.seconds_per_example
    assert refused.value.retry_after is not None
    assert three < refused.value.retry_after <= 1.5 * three
    assert refused.value.members == {"occupied": 4, "limit": 2}


async def test_a_version_without_a_replica_is_not_serving_and_says_when_to_return() -> None:
    with pytest.raises(NotServing) as refused:
        Fleet("test").reserve("gate", "1.0.0")

    assert refused.value.retry_after


async def fail(host: Host) -> None:
    """Ends workers until its lane has failed."""

    def failed() -> bool:
        for worker in host.lane.keeper.workers:
            worker.kill()
        return host.lane.keeper.failed

    await eventually(failed, "the lane has failed")


async def test_a_version_that_has_failed_says_when_it_is_tried_again(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = await fleet_of(stage, host)
    (replica,) = fleet.all()

    await fail(host)
    await eventually(lambda: replica.status.seconds_until_try is not None, "the host has told")
    with pytest.raises(NotServing) as refused:
        fleet.reserve("gate", "1.0.0")

    assert refused.value.retry_after is not None
    assert 5.0 < refused.value.retry_after <= 30.0


async def test_a_host_that_has_failed_tells_again_after_every_try(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate", retry_seconds=0.05)
    fleet = await fleet_of(stage, host)
    (replica,) = fleet.all()
    await fail(host)
    told = set()

    def thrice() -> bool:
        for worker in host.lane.keeper.workers:
            worker.kill()
        if replica.status is not None and replica.status.seconds_until_try is not None:
            told.add(replica.link().told_at)
        return len(told) >= 3

    await eventually(thrice, "the host has told of three tries")


async def test_the_replica_with_the_most_room_gets_the_work(stage: Stage) -> None:
    stage.publish("gate")
    small = await stage.host("gate", queue_limit=2)
    large = await stage.host("gate", queue_limit=4, replica="gate-1.0.0-1")
    fleet = await fleet_of(stage, small, large)

    tickets = [fleet.reserve("gate", "1.0.0") for _ in range(6)]

    assert [ticket.place.id for ticket in tickets[:2]] == ["gate-1.0.0-1"] * 2
    assert (
        sorted(ticket.place.id for ticket in tickets) == ["gate-1.0.0-0"] * 2 + ["gate-1.0.0-1"] * 4
    )
    for ticket in tickets:
        ticket.close()


async def test_a_host_counts_what_another_coordinator_has_there(stage: Stage) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", queue_limit=2, options={"gate": str(gate.path)})
    ours, theirs = await fleet_of(stage, host), await fleet_of(stage, host)
    (seen,) = ours.all()

    with theirs.reserve("gate", "1.0.0") as ticket:
        asked = asyncio.create_task(ticket.predict(x(1), {}, soon()))
        await eventually(lambda: seen.occupied == 1, "the host has told of the other's example")
        assert seen.room == 1
        async with gate.held():
            pass
        await asked

    await eventually(lambda: seen.room == 2, "the host has told that it is done")


async def test_a_retired_replica_answers_what_is_on_its_way_and_takes_nothing_new(
    stage: Stage,
) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    fleet = await fleet_of(stage, host)

    with fleet.reserve("gate", "1.0.0") as ticket, fleet.reserve("gate", "1.0.0") as later:
        asked = asyncio.create_task(ticket.predict(x(1), {}, soon()))
        async with gate.held():
            fleet.update([])
            with pytest.raises(NotServing):
                fleet.reserve("gate", "1.0.0")
        assert (await asked).output["x"].array().tolist() == [1.0]
        asked = asyncio.create_task(later.predict(x(2), {}, soon()))
        async with gate.held():
            pass
        assert (await asked).output["x"].array().tolist() == [2.0]
        assert len(host.links) == 1

    await eventually(lambda: not host.links, "the link is closed behind the last one")


async def test_a_replica_of_a_new_epoch_gets_a_new_link(stage: Stage) -> None:
    stage.publish("gate")
    old = await stage.host("gate")
    fleet = await fleet_of(stage, old)
    new = await stage.host("gate", epoch=2)

    fleet.update([new.place])

    await eventually(lambda: fleet.ready("gate", "1.0.0"), "the successor is connected")
    await eventually(lambda: not old.links, "the predecessor is left alone")
    with fleet.reserve("gate", "1.0.0") as ticket:
        await ticket.predict(x(1), {}, soon())
    assert new.lane.bouncer.admitted == 1


async def test_a_host_of_an_older_epoch_than_is_listed_gets_no_work(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    zombie = await stage.host("gate", epoch=1)
    fleet = Fleet("test")
    stage.exits.callback(fleet.stop)

    fleet.update([zombie.place._replace(epoch=2)])
    await eventually(lambda: "is of epoch 1; listed is 2" in caplog.text, "it is seen for what")
    assert not fleet.ready("gate", "1.0.0")
    fleet.update([zombie.place])

    await eventually(lambda: fleet.ready("gate", "1.0.0"), "the one that is listed is not")


async def test_a_host_that_was_started_again_is_served_before_it_is_listed(stage: Stage) -> None:
    stage.publish("gate")
    newer = await stage.host("gate", epoch=3)
    fleet = Fleet("test")
    stage.exits.callback(fleet.stop)

    fleet.update([newer.place._replace(epoch=2)])

    await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is believed")


async def test_another_replica_at_the_address_gets_no_work(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = Fleet("test")
    stage.exits.callback(fleet.stop)

    fleet.update([host.place._replace(id="gate-1.0.0-9")])

    await eventually(lambda: "is gate-1.0.0-0, and serves" in caplog.text, "it is seen for what")
    assert not fleet.ready("gate", "1.0.0")


async def test_an_update_with_the_same_places_keeps_the_links(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = await fleet_of(stage, host)
    before = list(host.links)

    fleet.update([host.place])

    assert fleet.ready("gate", "1.0.0")
    assert list(host.links) == before


async def test_a_lapsed_lease_cuts_nobody_off_whose_link_is_open(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = await fleet_of(stage, host)
    before = list(host.links)

    fleet.update([], lapsed=[host.place])

    assert list(host.links) == before
    with fleet.reserve("gate", "1.0.0") as ticket:
        await ticket.predict(x(1), {}, soon())


async def test_a_lapsed_lease_without_a_link_is_no_replica(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = await fleet_of(stage, host)
    stranger = host.place._replace(id="gate-1.0.0-9")
    await host.stop()
    await eventually(lambda: not fleet.ready("gate", "1.0.0"), "the link is lost")

    fleet.update([], lapsed=[host.place, stranger])

    assert not fleet.all()


async def test_a_host_of_another_version_at_the_address_gets_no_work(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = Fleet("test")

    fleet.update([host.place._replace(version="2.0.0")])

    await eventually(lambda: "serves gate 1.0.0" in caplog.text, "it has seen who that is")
    assert not fleet.ready("gate", "2.0.0")
    fleet.stop()


async def test_new_numbers_reach_a_host_that_is_connected_before_tune_returns(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = await fleet_of(stage, host)

    await fleet.tune("gate", "1.0.0", Tuning(3, 2, 0.01, 1))

    assert host.lane.tuning == Tuning(3, 2, 0.01, 1)
    (replica,) = fleet.all()
    assert replica.room == 3


async def test_new_numbers_reach_a_host_that_is_connected_later(stage: Stage) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    await host.stop()
    fleet = Fleet("test")
    fleet.update([host.place])

    await fleet.tune("gate", "1.0.0", Tuning(3, 2, 0.01, 1))
    await host.start()
    await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")

    assert host.lane.tuning == Tuning(3, 2, 0.01, 1)
    fleet.stop()


async def test_numbers_that_change_while_a_link_is_being_made_are_the_ones_in_force(
    stage: Stage,
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    fleet = Fleet("test")
    later: list[asyncio.Task[None]] = []

    def on_change() -> None:
        # The first numbers have arrived; their answer has not, and the link is not in use yet.
        if not later:
            tune = fleet.tune("gate", "1.0.0", Tuning(5, 2, 0.01, 2))
            later.append(asyncio.create_task(tune))

    host.lane.on_change.append(on_change)
    fleet.update([host.place])
    await fleet.tune("gate", "1.0.0", Tuning(3, 2, 0.01, 1))
    await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")
    await asyncio.gather(*later)

    assert later
    assert host.lane.tuning.revision == 2
    fleet.stop()


async def test_a_cancelled_prediction_leaves_the_queue_of_the_host(stage: Stage) -> None:
    stage.publish("gate")
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    fleet = await fleet_of(stage, host)

    with fleet.reserve("gate", "1.0.0") as running:
        first = asyncio.create_task(running.predict(x(1), {}, soon()))
        async with gate.held():
            with fleet.reserve("gate", "1.0.0") as waiting:
                second = asyncio.create_task(waiting.predict(x(2), {}, soon()))
                await eventually(lambda: host.lane.queued == 1, "it waits for the worker")
                second.cancel()
                await asyncio.wait([second])
            await eventually(lambda: host.lane.queued == 0, "it has left the queue")
        await first

    (replica,) = fleet.all()
    assert replica.taken == 0


async def test_a_body_in_memory_of_a_lost_link_is_nobody_elses_to_overwrite(stage: Stage) -> None:
    """The next link does not share: what is sent on it must not lie where others write."""
    stage.publish("gate")
    host = await stage.host("gate")
    parcels = Parcels(MIB)
    stage.exits.callback(parcels.close)
    fleet = Fleet("test", parcels)
    fleet.update([host.place])
    stage.exits.callback(fleet.stop)
    await eventually(lambda: fleet.ready("gate", "1.0.0"), "it is connected")
    (replica,) = fleet.all()
    body = np.full(2**17, 7, np.float32).tobytes()

    with fleet.reserve("gate", "1.0.0") as ticket:
        memory = ticket.memory(len(body))
        memory[:] = body
        link = replica.link()
        sealed, parcels.descriptor = parcels.descriptor, os.open(os.devnull, os.O_RDONLY)
        host.hang_up()
        await eventually(lambda: replica.ready and replica.link() is not link, "it is back")
        answered: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        inputs = {"x": Tensor("float32", (2**17,), memory)}
        ticket.send(inputs, {}, soon(), settling(answered))
        del inputs, memory  # the link alone has it now, and has written nothing yet
        other = parcels.take(len(body))
        assert other is not None
        other[:] = bytes(len(body))
        prediction = await answered

    assert not replica.link().shares
    assert bytes(prediction.output["x"].data) == body
    os.close(sealed)
