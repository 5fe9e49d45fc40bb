"""What became of real requests, asked of the admin API, and counted so that it adds up."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from edge import calling
from stage import Coordinator, Gate, Stage, photo
from test_express import OTHER_ROAD, request
from test_metrics import scraped, total

from coordinator.app import open_rooms
from coordinator.decoder import DECODER
from coordinator.inquiries import Inquiries
from coordinator.returns import JITTER, MARGIN, MAX_SECONDS, UNKNOWN_SECONDS
from minion.host.promise import Basis, limit_of
from minion.host.standing import standing_limit
from tests.bombs.pngs import flat
from tests.waiting import eventually

SLACK = 0.05
LARGE = flat(3000, 2000)
#: Half of it: what is missing is noticed when the rest has been decoded.
CUT_SHORT = LARGE[:11_000]
#: Milliseconds, to which the phases are rounded.
ROUNDED = 0.01


async def records(coordinator: Coordinator, id: str) -> list[dict[str, Any]]:
    answer = await coordinator.admin.get(f"/requests/{id}")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["request_id"] == id
    return list(found["records"])


async def record(coordinator: Coordinator, id: str) -> dict[str, Any]:
    [found] = await records(coordinator, id)
    return found


async def serving(stage: Stage, **how: Any) -> tuple[Coordinator, Gate]:
    """A coordinator and a model that answers while its gate is open."""
    stage.publish("gate", **how)
    gate = stage.gate()
    await stage.host("gate", options={"gate": str(gate.path)})
    return await stage.coordinator(), gate


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_an_answer_is_explained_on_either_road(stage: Stage, road: dict[str, str]) -> None:
    coordinator, gate = await serving(stage)
    with gate.open():
        answer = await coordinator.infer("gate", 1, headers=road)

    found = await record(coordinator, answer.json()["request_id"])

    assert found["route"] == "/models/{name}/infer"
    assert (found["ending"], found["status"], found["model"]) == ("answered", 200, "gate")
    [part] = found["models"]
    assert part["replica"] == answer.json()["replica"]
    assert part["batch_size"] == 1
    assert part["left"] == "full"
    assert part["phases_ms"] == pytest.approx(answer.json()["timeline_ms"])


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_a_photos_record_shows_the_decode(stage: Stage, road: dict[str, str]) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()

    answer = await coordinator.client.post(
        "/models/picture/infer",
        content=photo(1, 2, 3),
        headers={"Content-Type": "image/png", **road},
    )
    found = await record(coordinator, answer.json()["request_id"])

    assert found["phases_ms"]["decode"] > 0
    assert list(found["models"][0]["phases_ms"]) == ["decode", "queue", "predict", "link"]


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_the_time_of_a_photo_that_the_image_tier_refused_is_that_of_its_decode(
    stage: Stage, road: dict[str, str]
) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()

    answer = await coordinator.client.post(
        "/models/picture/infer", content=CUT_SHORT, headers={"Content-Type": "image/png", **road}
    )
    found = await record(coordinator, answer.json()["request_id"])

    assert found["code"] == "image-damaged"
    assert list(found["phases_ms"]) == ["read", "decode", "wait"]
    assert found["phases_ms"]["decode"] > found["phases_ms"]["wait"]


@pytest.mark.parametrize("others", [[], [photo(1, 2, 3)]], ids=["alone", "beside another"])
async def test_so_is_it_in_an_analysis(stage: Stage, others: list[bytes]) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()

    answer = await coordinator.analyze(CUT_SHORT, *others)
    found = await record(coordinator, answer.json()["request_id"])

    [refused] = [each for each in found["images"] if each["models"][0]["model"] == DECODER]
    assert refused["models"][0]["source"] == "image-damaged"
    assert refused["phases_ms"]["decode"] > refused["phases_ms"]["models"]


@pytest.mark.parametrize(
    ("route", "then"), [("/analyze", ["models", "other"]), ("/models/picture/infer", ["wait"])]
)
@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_so_is_that_of_a_photo_that_every_model_fails_on(
    stage: Stage, route: str, then: list[str], road: dict[str, str]
) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture", options={"fails": True})
    coordinator = await stage.coordinator()

    answer = await coordinator.client.post(
        route, content=LARGE, headers={"Content-Type": "image/png", **road}
    )
    found = await record(coordinator, answer.json()["request_id"])

    phases = found["phases_ms"]
    assert found["code"] == "model-error"
    assert list(phases) == ["read", "decode", *then]
    assert phases["decode"] > sum(phases[name] for name in then)


async def test_each_photo_of_an_analysis_has_its_models_explained(stage: Stage) -> None:
    stage.publish("picture", accuracy=0.9)
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()
    await coordinator.analyze(photo(1, 2, 3))

    answer = await coordinator.analyze(photo(1, 2, 3), photo(4, 5, 6), b"%PDF")
    found = await record(coordinator, answer.json()["request_id"])

    sources = [[part["source"] for part in image["models"]] for image in found["images"]]
    assert sorted(sources) == [["cached"], ["computed"], ["image-format-unsupported"]]


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_of_a_refusal_the_numbers_are_there_from_which_it_follows(
    stage: Stage, road: dict[str, str]
) -> None:
    coordinator, gate = await serving(stage, queue_limit=2)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(coordinator.infer("gate", 1))
        replica = coordinator.replica("gate")
        await eventually(lambda: replica.occupied == 2, "the lane is full")
        answer = await coordinator.infer("gate", 1, headers=road)
        async with gate.held():
            pass
        with gate.open():
            await eventually(lambda: replica.occupied == 0, "the lane is empty")

    found = await record(coordinator, answer.json()["request_id"])

    assert answer.status_code == 429
    assert (found["ending"], found["code"]) == ("refused", "queue-full")
    assert found["problem"] == answer.json()
    reckoning = found["reckoning"]
    assert reckoning["occupied"] >= reckoning["status"]["queue_limit"] == 2
    assert found["problem"]["occupied"] == reckoning["occupied"]
    assert found["problem"]["limit"] == reckoning["status"]["queue_limit"]


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
@pytest.mark.parametrize("stage_of_it", ["reading", "waiting"])
async def test_who_left_before_the_answer_is_counted_and_recorded(
    stage: Stage, road: dict[str, str], stage_of_it: str
) -> None:
    coordinator, gate = await serving(stage)
    before = await scraped(coordinator)
    body = b'{"inputs": {"x": [1]}}'
    sent = body if stage_of_it == "waiting" else body[:5]
    async with calling(coordinator.port) as caller:
        head = {"X_Request_Id": "left", **{k.replace("-", "_"): v for k, v in road.items()}}
        await caller.send(request(sent, length=len(body), **head))
        replica = coordinator.replica("gate")
        await eventually(lambda: replica.taken == 1, "it has its place")
        if stage_of_it == "waiting":
            async with gate.held():
                caller.hang_up()
                await eventually(lambda: replica.taken == 0, "it was called off")
        else:
            caller.hang_up()
            await eventually(lambda: replica.taken == 0, "it was called off")

    found = await record(coordinator, "left")
    after = await scraped(coordinator) - before

    assert (found["ending"], found["status"]) == ("cancelled", None)
    cancelled = "demitasse_requests_cancelled_total"
    assert total(after, cancelled, stage=stage_of_it) == total(after, cancelled) == 1
    assert total(after, "demitasse_requests_total", route="/models/{name}/infer") == 0


async def test_a_request_that_nobody_saw_is_a_404_that_says_so(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    answer = await coordinator.admin.get("/requests/never-seen")

    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown-request"
    assert "5 minutes" in answer.json()["detail"]


async def test_an_id_that_was_used_twice_shows_both_the_first_one_first(stage: Stage) -> None:
    coordinator, gate = await serving(stage)
    again = {"X-Request-Id": "again/1"}
    with gate.open():
        await coordinator.infer("gate", 1, parameters={"invalid": "too-blue"}, headers=again)
        await coordinator.infer("gate", 1, headers=again)

    assert [each["code"] for each in await records(coordinator, "again/1")] == ["too-blue", "ok"]


async def test_a_record_is_found_whichever_process_is_asked(stage: Stage, tmp_path: Path) -> None:
    coordinator, gate = await serving(stage)
    with gate.open():
        answer = await coordinator.infer("gate", 1, headers={"X-Request-Id": "mine"})
    own = coordinator.rooms.records
    (tmp_path / "c-dead.sock").touch()

    async with (
        open_rooms(stage.settings, name="other", siblings=tmp_path) as other,
        Inquiries(own, tmp_path).open_to_siblings(),
    ):
        [found] = await other.inquiries.find("mine")

    assert found["status"] == answer.status_code == 200


@pytest.mark.parametrize("road", [{}, OTHER_ROAD], ids=["express", "aiohttp"])
async def test_what_took_long_is_named(stage: Stage, road: dict[str, str]) -> None:
    coordinator, gate = await serving(stage)
    asked = asyncio.create_task(coordinator.infer("gate", 1, headers=road))
    async with gate.held():
        for _ in range(200):  # all that takes time here
            await coordinator.client.get("/livez")

    found = await record(coordinator, (await asked).json()["request_id"])

    phases = found["phases_ms"]
    assert phases["predict"] + phases["queue"] >= (1 - SLACK) * found["total_ms"]


async def test_the_phases_of_a_thousand_random_requests_add_up(stage: Stage) -> None:
    chance = random.Random(16)
    stage.publish("gate", queue_limit=64, max_batch_size=4)
    stage.publish("gate", name="lasting", accuracy=0.9)
    stage.publish("picture", accuracy=0.9)
    await stage.decoder()
    for model in ("gate", "lasting", "picture"):
        await stage.host(model)
    coordinator = await stage.coordinator()

    async def send() -> str:
        road = chance.choice([{}, OTHER_ROAD])
        kind = chance.randrange(10)
        if kind == 0:
            pictures = [photo(chance.randrange(256), 0, 0) for _ in range(chance.randint(1, 2))]
            answer = await coordinator.analyze(*pictures)
        elif kind == 1:
            sent = photo(chance.randrange(256), 1, 0)
            how = {"headers": {"Content-Type": "image/png", **road}}
            answer = await coordinator.client.post("/models/picture/infer", content=sent, **how)
        else:
            parameters = {"invalid": "too-blue"} if chance.random() < 0.1 else {}
            model = chance.choice(["gate", "lasting"])
            number = chance.randrange(20)
            answer = await coordinator.infer(model, number, parameters=parameters, headers=road)
        return answer.headers["X-Request-Id"]

    ids: list[str] = []
    while len(ids) < 1000:
        ids += await asyncio.gather(*(send() for _ in range(chance.randint(1, 20))))

    for id in ids:
        found = await record(coordinator, id)
        phases = found["phases_ms"]
        assert min(phases.values()) >= 0
        assert sum(phases.values()) == pytest.approx(found["total_ms"], rel=SLACK, abs=ROUNDED)


async def test_received_is_answered_plus_refused_plus_cancelled_plus_failed(stage: Stage) -> None:
    chance = random.Random(8)
    coordinator, gate = await serving(stage, queue_limit=4, max_batch_size=2)
    before = await scraped(coordinator)

    async def call(road: dict[str, str]) -> None:
        timeout = {"Demitasse-Timeout": "0.05"} if chance.random() < 0.3 else {}
        parameters = {"invalid": "too-blue"} if chance.random() < 0.2 else {}
        await coordinator.infer("gate", 1, parameters=parameters, headers={**road, **timeout})

    async def leave(road: dict[str, str]) -> None:
        async with calling(coordinator.port) as caller:
            await caller.send(request(**{k.replace("-", "_"): v for k, v in road.items()}))
            await asyncio.sleep(chance.random() * 0.01)
            caller.hang_up()

    with gate.open():
        for _ in range(20):
            roads = [chance.choice([{}, OTHER_ROAD]) for _ in range(10)]
            await asyncio.gather(*(chance.choice([call, call, leave])(road) for road in roads))
    async with asyncio.TaskGroup() as group:
        late = {"Demitasse-Timeout": "0.05"}
        group.create_task(coordinator.infer("gate", 1, headers=late))
        group.create_task(coordinator.infer("gate", 1, headers={**late, **OTHER_ROAD}))
    replica = coordinator.replica("gate")
    await eventually(lambda: replica.taken == 0, "all are gone")
    after = await scraped(coordinator) - before

    route = {"route": "/models/{name}/infer"}
    received = total(after, "demitasse_requests_received_total", **route)
    endings = {
        ending: total(after, "demitasse_requests_total", ending=ending, **route)
        for ending in ("answered", "refused", "failed")
    }
    cancelled = total(after, "demitasse_requests_cancelled_total", **route)
    assert all(endings.values())
    assert cancelled > 0
    assert received == sum(endings.values()) + cancelled


def limit_by(reckoning: dict[str, Any]) -> int:
    """The limit, from the numbers of a record alone."""
    promise = reckoning["status"].get("promise")
    if promise is None:
        return int(reckoning["status"]["queue_limit"])
    basis = Basis(**{name: promise[name] for name in Basis._fields})
    limit = limit_of(promise["seconds"], basis)
    return standing_limit(limit, basis) if promise["standing"] else limit


def retry_after_by(reckoning: dict[str, Any]) -> tuple[float, float]:
    """The least and the most that a caller could be told, from the numbers of a record alone."""
    status = reckoning["status"]
    each = status["seconds_per_example"] * max(status["coordinators"], 1) or UNKNOWN_SECONDS
    each *= MARGIN
    missing = reckoning["occupied"] - status["queue_limit"] + 1
    if (promise := status.get("promise")) is not None:
        busy = 2 * promise["workers"] * promise["batch_size"]
        missing = max(missing, reckoning["occupied"] - busy + 1)
    least = max(missing * each, reckoning["told_seconds"] + each)
    return min(least, MAX_SECONDS * (1 - JITTER)), min(least + JITTER * each, MAX_SECONDS)


@pytest.mark.parametrize("settings", [{"promise_seconds": 0.05}, {"queue_limit": 3}], ids=str)
async def test_every_random_refusal_can_be_derived_again_from_its_record(
    stage: Stage, settings: dict[str, float]
) -> None:
    chance = random.Random(429)
    coordinator, gate = await serving(stage, queue_limit=64, max_batch_size=4)
    await coordinator.admin.patch("/models/gate/settings", json=settings)
    answers = []
    with gate.open():
        for _ in range(30):
            crowd = range(chance.randint(1, 40))
            roads = [chance.choice([{}, OTHER_ROAD]) for _ in crowd]
            calls = (coordinator.infer("gate", 1, headers=road) for road in roads)
            answers += await asyncio.gather(*calls)
    refused = [answer.json() for answer in answers if answer.status_code == 429]

    assert len(refused) >= 20
    for problem in refused:
        found = await record(coordinator, problem["request_id"])
        assert found["problem"] == problem
        if "reckoning" not in found:  # the host had the last word: its numbers are the problem's
            assert problem["occupied"] >= problem["limit"]
            continue
        reckoning = found["reckoning"]
        assert limit_by(reckoning) == reckoning["status"]["queue_limit"] == problem["limit"]
        assert reckoning["occupied"] == problem["occupied"] >= problem["limit"]
        least, most = retry_after_by(reckoning)
        assert least * (1 - SLACK) <= problem["retry_after"] <= most * (1 + SLACK)
