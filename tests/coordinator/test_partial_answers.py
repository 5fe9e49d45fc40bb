"""POST /analyze answers on time with what is there: `pending`, `require`, `optional`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from stage import Coordinator, Gate, Host, Stage, photo

from coordinator.metrics import flush
from minion.host.bouncer import Ending
from tests.waiting import eventually

RED = photo(200, 0, 0)
OUTPUT = {"colour": [200, 0, 0]}
PENDING = {"version": "1.0.0", "pending": True}
#: Of those who wait for it to pass; the quick ones need some milliseconds.
TIMEOUT = "1.5"


class Scene:
    """A quick model and a slow one, which answers when its gate is opened."""

    def __init__(self, coordinator: Coordinator, quick: Host, slow: Host, gate: Gate) -> None:
        self.coordinator, self.quick, self.slow, self.gate = coordinator, quick, slow, gate

    async def ask(self, *photos: bytes, **query: str) -> httpx.Response:
        return await self.coordinator.analyze(*(photos or (RED,)), params=query)

    async def nobody_has_a_place(self) -> bool:
        replicas = [self.coordinator.replica(name) for name in ("decoder", "quick", "slow")]
        await eventually(lambda: not any(each.taken for each in replicas), "all are free")
        return True


async def scene(stage: Stage, *, quick: dict[str, Any] | None = None, known: str = "") -> Scene:
    await stage.decoder()
    gate = stage.gate()
    for name in ("quick", "slow"):
        stage.publish("picture", name=name, accuracy=1.0 if name == known else None)
    hosts = [
        await stage.host("quick", options=quick or {}),
        await stage.host("slow", options={"gate": str(gate.path)}),
    ]
    return Scene(await stage.coordinator(), *hosts, gate)


def entries(answer: httpx.Response) -> dict[str, Any]:
    (image,) = answer.json()["images"]
    return dict(image["models"])


async def test_at_the_deadline_what_is_ready_is_answered_and_the_rest_is_pending(
    stage: Stage,
) -> None:
    on = await scene(stage)

    answer = await on.ask(timeout=TIMEOUT)

    assert answer.status_code == 200
    assert entries(answer)["quick"]["output"] == OUTPUT
    assert entries(answer)["slow"] == PENDING
    assert answer.json()["timeline_ms"]["total"] >= 1000


async def test_what_is_pending_is_called_off(stage: Stage) -> None:
    on = await scene(stage)

    await on.ask(timeout=TIMEOUT)

    assert await on.nobody_has_a_place()
    endings = on.slow.lane.bouncer.endings
    with on.gate.open():
        await eventually(lambda: sum(endings.values()), "it has ended")
    assert endings == {Ending.ABANDONED: 1}


async def test_what_is_pending_is_counted(stage: Stage) -> None:
    def pending(model: str) -> float:
        flush()
        labels = {"model": model, "version": "1.0.0"}
        return REGISTRY.get_sample_value("demitasse_pending_answers_total", labels) or 0.0

    on = await scene(stage)
    before = pending("slow"), pending("quick")

    await on.ask(optional="slow")

    assert (pending("slow"), pending("quick")) == (before[0] + 1, before[1])


async def test_a_required_model_that_is_late_is_a_504_that_names_it(stage: Stage) -> None:
    on = await scene(stage)

    answer = await on.ask(timeout=TIMEOUT, require="slow")

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert answer.json()["model"] == "slow"
    assert await on.nobody_has_a_place()


async def test_where_all_are_late_the_request_is(stage: Stage) -> None:
    on = await scene(stage)

    answer = await on.ask(timeout="0.3", models="slow")

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert answer.json()["model"] == "slow"


async def test_an_optional_model_is_not_waited_for_once_the_others_have_answered(
    stage: Stage,
) -> None:
    on = await scene(stage)

    answer = await on.ask(optional="slow")  # and the gate stays shut

    assert answer.status_code == 200
    assert entries(answer)["quick"]["output"] == OUTPUT
    assert entries(answer)["slow"] == PENDING
    assert await on.nobody_has_a_place()


async def test_an_optional_model_that_is_ready_by_then_is_in_the_answer(stage: Stage) -> None:
    on = await scene(stage)

    asking = asyncio.create_task(on.ask(optional="quick"))
    await eventually(lambda: on.quick.lane.bouncer.endings[Ending.COMPLETED], "the quick one ended")
    with on.gate.open():
        answer = await asking

    assert entries(answer)["quick"]["output"] == OUTPUT
    assert entries(answer)["slow"]["output"] == OUTPUT


async def test_an_optional_model_is_waited_for_where_the_others_failed(stage: Stage) -> None:
    on = await scene(stage, quick={"fails": True})

    asking = asyncio.create_task(on.ask(optional="slow"))
    await eventually(lambda: on.quick.lane.bouncer.endings[Ending.FAILED], "the quick one failed")
    with on.gate.open():
        answer = await asking

    assert entries(answer)["quick"]["error"]["code"] == "model-error"
    assert entries(answer)["slow"]["output"] == OUTPUT


async def test_where_all_are_optional_the_first_to_answer_is_enough(stage: Stage) -> None:
    on = await scene(stage)

    answer = await on.ask(optional="quick,slow")

    assert entries(answer)["quick"]["output"] == OUTPUT
    assert entries(answer)["slow"] == PENDING


async def test_an_optional_model_is_not_asked_where_the_others_answers_are_remembered(
    stage: Stage,
) -> None:
    on = await scene(stage, known="quick")

    await on.ask(models="quick")
    answer = await on.ask(optional="slow")

    assert entries(answer)["quick"]["cached"] is True
    assert entries(answer)["slow"] == PENDING
    assert on.slow.lane.bouncer.admitted == 0


async def test_when_a_required_model_has_failed_nothing_else_is_waited_for(stage: Stage) -> None:
    on = await scene(stage, quick={"fails": True})

    answer = await on.ask(require="quick")  # and the gate stays shut

    assert (answer.status_code, answer.json()["code"]) == (422, "model-error")
    assert answer.json()["model"] == "quick"
    assert await on.nobody_has_a_place()


async def test_of_several_photos_each_has_its_own_pending_models(stage: Stage) -> None:
    on = await scene(stage)

    answer = await on.ask(RED, b"%PDF no photo", RED, optional="slow")

    first, second, third = answer.json()["images"]
    assert first["models"]["slow"] == third["models"]["slow"] == PENDING
    assert first["models"]["quick"]["output"] == third["models"]["quick"]["output"] == OUTPUT
    assert second["error"]["code"] == "image-format-unsupported"


async def test_one_model_cannot_be_required_and_optional(stage: Stage) -> None:
    on = await scene(stage)

    answer = await on.ask(require="quick,slow", optional="slow")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
    assert answer.json()["field"] == "optional"
    assert "'slow'" in answer.json()["detail"]


@pytest.mark.parametrize("ahead", [0, 2], ids=["at once", "behind others"])
async def test_a_photo_that_is_decoded_too_late_leaves_what_is_remembered(
    stage: Stage, ahead: int
) -> None:
    for name, accuracy in (("known", 1.0), ("other", None)):
        stage.publish("picture", name=name, accuracy=accuracy)
        await stage.host(name)
    decoder = await stage.decoder()
    coordinator = await stage.coordinator()
    await coordinator.analyze(RED, params={"models": "known"})
    await decoder.stop()
    decoder = await stage.fragile_decoder("hang", stage.gate())
    await coordinator.connected("decoder")
    others = [
        asyncio.create_task(coordinator.analyze(photo(0, 0, number))) for number in range(ahead)
    ]
    await eventually(lambda: decoder.lane.bouncer.occupied == ahead, "they are there")

    answer = await coordinator.analyze(RED, params={"timeout": "0.5"})
    alone = await coordinator.analyze(RED, params={"timeout": "0.3", "models": "other"})
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)

    assert answer.status_code == 200
    assert entries(answer)["known"]["output"] == OUTPUT
    assert entries(answer)["other"] == PENDING
    assert (alone.status_code, alone.json()["code"]) == (504, "deadline-exceeded")


@pytest.mark.parametrize("route", ["", "/versions/1.0.0"])
async def test_the_route_of_one_model_has_no_pending(stage: Stage, route: str) -> None:
    on = await scene(stage)

    answer = await on.coordinator.client.post(
        f"/models/slow{route}/infer",
        content=RED,
        headers={"Content-Type": "image/png", "Demitasse-Timeout": "0.3"},
    )

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
