"""POST /analyze: admit, decode, predict, merge; on a real image tier and real models."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edge import calling
from stage import Coordinator, Host, Stage, photo

from model_registry.settings import SettingsChange
from tests.waiting import eventually

RED, GREEN, BLUE = (200, 0, 0), (0, 100, 0), (0, 0, 50)


async def on(stage: Stage, *models: str, **hosted: Any) -> tuple[Coordinator, list[Host]]:
    """Pictures under these names, each served, with a decoder and a coordinator."""
    decoder = await stage.decoder()
    for name in models:
        stage.publish("picture", name=name)
    hosts = [await stage.host(name, **hosted.get(name, {})) for name in models]
    return await stage.coordinator(), [decoder, *hosts]


FAILING = {"options": {"fails": True}}


async def test_every_marked_model_answers_for_the_photo(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one", "two")

    answer = (await coordinator.analyze(photo(*RED, size=(20, 10)))).json()

    (image,) = answer["images"]
    assert (image["name"], image["width"], image["height"], image["format"]) == (
        "0.png",
        20,
        10,
        "PNG",
    )
    assert {name: part["output"] for name, part in image["models"].items()} == {
        "one": {"colour": [*RED]},
        "two": {"colour": [*RED]},
    }
    assert set(image["timeline_ms"]) == {"decode", "predict"}
    assert answer["timeline_ms"]["total"] >= answer["timeline_ms"]["read"]


async def test_one_decode_serves_all_models_of_a_request(stage: Stage) -> None:
    coordinator, hosts = await on(stage, "one", "two")

    await coordinator.analyze(photo(*RED))

    assert hosts[0].lane.bouncer.admitted == 1


async def test_many_images_keep_their_order_and_each_has_its_own_error(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one")

    answer = await coordinator.analyze(photo(*RED), b"%PDF-1.7 no photo", photo(*BLUE))

    first, second, third = answer.json()["images"]
    assert answer.status_code == 200
    assert [each["name"] for each in (first, second, third)] == ["0.png", "1.png", "2.png"]
    assert first["models"]["one"]["output"]["colour"] == [*RED]
    assert second["error"]["code"] == "image-format-unsupported"
    assert second["error"]["status"] == 422
    assert "models" not in second
    assert third["models"]["one"]["output"]["colour"] == [*BLUE]


@pytest.mark.parametrize(
    ("harm", "code"),
    [("hang", "image-too-costly"), ("crash", "image-damaged"), ("raise", "image-damaged")],
)
async def test_a_photo_that_harms_the_decoder_is_the_callers_fault(
    stage: Stage, harm: str, code: str
) -> None:
    stage.publish("picture")
    await stage.host("picture")
    await stage.fragile_decoder(harm)
    coordinator = await stage.coordinator()

    answer = await coordinator.analyze(photo(*RED))

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["retryable"] is False
    assert "secret" not in answer.text
    assert await all_free(coordinator, "picture")


async def test_where_every_image_is_bad_the_request_fails_like_the_first(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one")

    answer = await coordinator.analyze(b"%PDF-1.7", photo(*RED)[:-30])

    assert (answer.status_code, answer.json()["code"]) == (422, "image-format-unsupported")


async def test_a_model_that_fails_has_an_error_beside_the_others_answers(stage: Stage) -> None:
    coordinator, _ = await on(stage, "good", "bad", bad=FAILING)

    answer = await coordinator.analyze(photo(*RED))

    (image,) = answer.json()["images"]
    assert answer.status_code == 200
    assert image["models"]["good"]["output"] == {"colour": [*RED]}
    assert image["models"]["bad"]["version"] == "1.0.0"
    assert image["models"]["bad"]["error"]["code"] == "model-error"
    assert image["models"]["bad"]["error"]["status"] == 422
    assert "request_id" not in image["models"]["bad"]["error"]


async def test_a_model_that_is_away_has_an_error_beside_the_others_answers(stage: Stage) -> None:
    coordinator, _ = await on(stage, "here")
    stage.publish("picture", name="away")
    await coordinator.rooms.directory.refresh()

    (image,) = (await coordinator.analyze(photo(*RED))).json()["images"]

    assert image["models"]["here"]["output"] == {"colour": [*RED]}
    assert image["models"]["away"]["error"]["code"] == "not-serving"
    assert image["models"]["away"]["error"]["retryable"] is True
    assert image["models"]["away"]["error"]["retry_after"] == 2.0


async def test_a_required_model_that_fails_fails_the_request_and_is_named(stage: Stage) -> None:
    coordinator, _ = await on(stage, "good", "bad", bad=FAILING)

    answer = await coordinator.analyze(photo(*RED), params={"require": "bad"})

    assert (answer.status_code, answer.json()["code"]) == (422, "model-error")
    assert answer.json()["model"] == "bad"


async def test_a_required_model_that_is_away_is_refused_before_the_body(stage: Stage) -> None:
    coordinator, _ = await on(stage, "here")
    stage.publish("picture", name="away")
    await coordinator.rooms.directory.refresh()

    async with calling(coordinator.port) as caller:
        await caller.send(
            b"POST /analyze?require=away HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        )
        refused = await caller.reply()

    assert (refused.status, refused.json()["code"]) == (503, "not-serving")
    assert refused.json()["model"] == "away"


async def test_where_every_model_fails_the_request_does(stage: Stage) -> None:
    coordinator, _ = await on(stage, "bad", bad=FAILING)

    answer = await coordinator.analyze(photo(*RED))

    assert (answer.status_code, answer.json()["code"]) == (422, "model-error")
    assert answer.json()["model"] == "bad"


async def test_two_references_to_one_model_are_keyed_as_they_were_written(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one")
    stage.publish("picture", name="one", version="2.0.0")
    stage.catalog.serve("one", "2.0.0", who="test")
    await stage.host("one", "2.0.0")
    await coordinator.rooms.directory.refresh()
    await coordinator.connected("one", "2.0.0")

    both = await coordinator.analyze(photo(*RED), params={"models": "one,one@2"})
    pinned = await coordinator.analyze(photo(*RED), params={"models": "one@2"})

    (image,) = both.json()["images"]
    assert {name: part["version"] for name, part in image["models"].items()} == {
        "one": "1.0.0",
        "one@2": "2.0.0",
    }
    assert pinned.json()["images"][0]["models"]["one"]["version"] == "2.0.0"


async def test_a_model_that_takes_no_photo_is_refused_by_name(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one")
    stage.publish("gate")
    await coordinator.rooms.directory.refresh()

    answer = await coordinator.analyze(photo(*RED), params={"models": "one,gate"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
    assert answer.json()["field"] == "models"
    assert "/models/gate/infer" in answer.json()["detail"]


@pytest.mark.parametrize("query", [{}, {"models": "one"}], ids=["of-all", "of-the-named"])
@pytest.mark.parametrize("name", ["other", "nobody", "one@1"])
@pytest.mark.parametrize("parameter", ["require", "optional"])
async def test_to_name_a_model_that_is_not_asked_is_refused_by_name(
    stage: Stage, query: dict[str, str], name: str, parameter: str
) -> None:
    coordinator, _ = await on(stage, "one")
    stage.publish("gate", name="other")
    await coordinator.rooms.directory.refresh()

    answer = await coordinator.analyze(photo(*RED), params={**query, parameter: name})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
    assert answer.json()["field"] == parameter
    assert repr(name) in answer.json()["detail"]


async def test_without_a_marked_model_the_caller_is_told_to_name_one(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    answer = await coordinator.analyze(photo(*RED))

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-model")


async def test_a_platform_that_serves_some_models_alone_asks_no_other_of_its_own_accord(
    stage: Stage,
) -> None:
    await on(stage, "one")
    stage.publish("picture", name="two")
    coordinator = await stage.coordinator(only=["one"])

    unnamed = await coordinator.analyze(photo(*RED))
    named = await coordinator.analyze(photo(*RED), params={"models": "one,two"})
    ready = await coordinator.client.get("/readyz")

    (image,) = unnamed.json()["images"]
    assert {name: "output" in part for name, part in image["models"].items()} == {"one": True}
    assert (named.status_code, named.json()["code"]) == (404, "version-not-served")
    assert named.json()["detail"] == (
        "two 1.0.0, which default means, is published but not served; served are: none"
    )
    assert ready.json() == {"ready": True, "models": {"one": True}}


async def test_more_images_than_there_is_room_for_are_refused_one_by_one(stage: Stage) -> None:
    coordinator, _ = await on(stage, "one")
    stage.catalog.tune("one", SettingsChange(queue_limit=2), who="test")
    await coordinator.rooms.directory.refresh()

    answer = await coordinator.analyze(*(photo(i, 0, 0) for i in range(4)))

    images = answer.json()["images"]
    assert ["error" in each for each in images] == [False, False, True, True]
    assert images[3]["error"]["code"] == "queue-full"
    assert images[3]["error"]["model"] == "one"
    assert await all_free(coordinator, "one", "decoder")


async def test_all_places_are_given_back_however_a_request_ends(stage: Stage) -> None:
    coordinator, _ = await on(stage, "good", "bad", bad=FAILING)

    await coordinator.analyze(photo(*RED))
    await coordinator.analyze(b"%PDF", photo(*RED))
    await coordinator.analyze(photo(*RED), params={"require": "bad"})
    await coordinator.analyze(photo(*RED), params={"timeout": "0.000001"})
    await coordinator.client.post("/analyze", json={"image": "not base64!"})

    assert await all_free(coordinator, "good", "bad", "decoder")


async def test_a_caller_who_leaves_while_the_photo_is_decoded_gives_all_places_back(
    stage: Stage,
) -> None:
    coordinator, _ = await on(stage, "one")
    body = photo(*GREEN, size=(3000, 3000))
    decoder, model = coordinator.replica("decoder"), coordinator.replica("one")

    async with calling(coordinator.port) as caller:
        await caller.send(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        await eventually(lambda: decoder.taken and model.taken, "places are taken")

    assert await all_free(coordinator, "one", "decoder")


async def test_twenty_photos_at_once_come_back_each_with_its_own(stage: Stage) -> None:
    stage.publish("picture", queue_limit=20, max_batch_size=4)
    await stage.decoder(queue_limit=20)
    await stage.host("picture")
    coordinator = await stage.coordinator()
    colours = [(10 * i, 255 - 10 * i, i) for i in range(20)]

    answers = await asyncio.gather(*(coordinator.analyze(photo(*each)) for each in colours))

    said = [each.json()["images"][0]["models"]["picture"]["output"]["colour"] for each in answers]
    assert said == [list(each) for each in colours]


async def test_a_deadline_that_passes_while_the_photo_is_decoded_is_a_504(stage: Stage) -> None:
    stage.publish("picture")
    await stage.host("picture")
    gate = stage.gate()
    await stage.fragile_decoder("raise", gate)
    coordinator = await stage.coordinator()

    asked = asyncio.create_task(coordinator.analyze(photo(*GREEN), params={"timeout": "1"}))
    async with gate.held():
        answer = await asked

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
    assert await all_free(coordinator, "picture", "decoder")


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
async def test_the_answer_comes_in_the_format_that_is_accepted(stage: Stage, accept: str) -> None:
    coordinator, _ = await on(stage, "one")

    answer = await coordinator.analyze(photo(*RED), headers={"Accept": accept})

    assert answer.headers["Content-Type"] == accept


async def all_free(coordinator: Coordinator, *models: str) -> bool:
    replicas = [coordinator.replica(model) for model in models]
    await eventually(
        lambda: all((each.taken, each.occupied) == (0, 0) for each in replicas), "all are free"
    )
    return True
