"""What a caller hears of an input on which a model fails, and what it costs to send it again."""

from __future__ import annotations

import asyncio

import pytest

from tests.coordinator.stage import Coordinator, Host, Stage
from tests.waiting import eventually


async def served(stage: Stage, **changes: object) -> tuple[Coordinator, Host]:
    stage.publish("touchy", max_batch_size=8)
    changes = {"predict_timeout_seconds": 0.6, "outputs": {"x": {"type": "number"}}, **changes}
    host = await stage.host("touchy", **changes)
    return await stage.coordinator(), host


@pytest.mark.parametrize(
    ("x", "code"),
    [
        (1001, "worker-crashed"),
        (1002, "predict-timeout"),
        (1003, "model-error"),
        (1004, "out-of-memory"),
        (1005, "invalid-output"),
    ],
)
async def test_what_a_model_fails_on_is_a_422_with_its_cause(
    stage: Stage, x: int, code: str
) -> None:
    coordinator, _ = await served(stage)

    answer = await coordinator.infer("touchy", x)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (422, code, False)
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("x", [1001, 1002, 1004])
async def test_what_cost_a_process_or_its_memory_is_refused_unexecuted(
    stage: Stage, x: int
) -> None:
    coordinator, host = await served(stage)
    first = await coordinator.infer("touchy", x)
    await eventually(lambda: host.lane.keeper.ready() == 1, "the successor is ready")
    ends, admitted = host.lane.keeper.restarts, host.lane.bouncer.admitted

    again = await coordinator.infer("touchy", x)

    assert (again.status_code, again.json()["code"]) == (422, first.json()["code"])
    assert "not tried again" in again.json()["detail"]
    assert (host.lane.keeper.restarts, host.lane.bouncer.admitted) == (ends, admitted)
    assert (await coordinator.infer("touchy", 1)).json()["output"] == {"x": 1.0}


async def test_where_memory_ran_out_the_model_says_how_large_its_batches_are(stage: Stage) -> None:
    coordinator, _ = await served(stage)
    window = {"max_queue_delay_seconds": 20.0}  # for a full batch
    assert (await coordinator.admin.patch("/models/touchy/settings", json=window)).is_success
    before = (await coordinator.client.get("/models/touchy")).json()["admission"]

    answers = await asyncio.gather(*(coordinator.infer("touchy", x) for x in range(8)))

    assert [answer.json()["output"]["x"] for answer in answers] == list(range(8))
    status = coordinator.replica("touchy").link
    await eventually(lambda: status().status.batch_limit == 2, "the host has told")
    after = (await coordinator.client.get("/models/touchy")).json()["admission"]
    assert [each["batch_limit"] for each in (*before, *after)] == [None, 2]
