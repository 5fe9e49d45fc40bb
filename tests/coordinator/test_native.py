"""The public API over real sockets: admission before the body, and places given back."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
from edge import calling
from stage import Coordinator, Gate, Host, Stage, photo

from coordinator.parcels import MIN_PARCEL_BYTES
from tests.waiting import eventually

PATH = "/models/gate/infer"


def head(path: str = PATH, length: int = 100_000, **headers: str) -> bytes:
    """A POST of which nothing but the head has arrived."""
    fields = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(length)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def gated(stage: Stage, **settings: int) -> tuple[Gate, Host, Coordinator]:
    """A gate that is shut, its host, and a coordinator."""
    stage.publish("gate", **settings)
    gate = stage.gate()
    host = await stage.host("gate", options={"gate": str(gate.path)})
    return gate, host, await stage.coordinator()


async def all_given_back(coordinator: Coordinator, model: str = "gate") -> None:
    replica = coordinator.replica(model)
    await eventually(lambda: (replica.taken, replica.occupied) == (0, 0), "all places are free")


async def test_a_model_answers_its_own_input(stage: Stage) -> None:
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    answer = (await coordinator.infer("gate", 1.5, 2.5)).json()

    assert answer["output"] == {"x": [1.5, 2.5]}
    assert (answer["model"], answer["version"], answer["batch_size"]) == ("gate", "1.0.0", 1)
    assert answer["replica"] == "gate-1.0.0-0"
    assert set(answer["timeline_ms"]) == {"queue", "predict", "link"}
    assert len(answer["request_id"]) == 24


@pytest.mark.parametrize("levels", [31, 32, 33, 100])
async def test_parameters_of_any_depth_end_no_link(stage: Stage, levels: int) -> None:
    gate, _, coordinator = await gated(stage)
    nested: list[object] = []
    for _ in range(levels - 1):
        nested = [nested]

    with gate.open(0) as one_more:
        in_flight = asyncio.create_task(coordinator.infer("gate", 1))
        await eventually(lambda: coordinator.replica("gate").occupied == 1, "it is in flight")
        asked = asyncio.create_task(coordinator.infer("gate", 2, parameters={"a": nested}))
        if levels > 31:
            refused = (await asked).json()
            assert (refused["code"], refused["status"]) == ("invalid-body", 400)
            assert refused["field"].startswith("parameters.a[0]")
        one_more()
        one_more()
        assert (await in_flight).status_code == 200
        assert (await asked).status_code == (200 if levels <= 31 else 400)


async def test_two_hundred_at_once_are_each_answered_with_their_own(stage: Stage) -> None:
    stage.publish("gate", queue_limit=200, max_batch_size=16)
    await stage.host("gate")
    coordinator = await stage.coordinator()

    answers = await asyncio.gather(*(coordinator.infer("gate", i, -i) for i in range(200)))

    assert [each.json()["output"]["x"] for each in answers] == [[i, -i] for i in range(200)]


async def test_a_full_lane_refuses_before_the_body_is_asked_for(stage: Stage) -> None:
    _, _, coordinator = await gated(stage, queue_limit=1)

    async with calling(coordinator.port) as first, calling(coordinator.port) as second:
        await first.send(head(Expect="100-continue"))
        assert (await first.head())[0] == 100
        await second.send(head(Expect="100-continue"))
        refused = await second.reply()

    assert refused.status == 429, "and no 100 came before it"
    assert refused.json()["code"] == "queue-full"
    assert int(refused.headers["retry-after"]) >= 1


async def test_exactly_the_limit_of_a_burst_is_admitted(stage: Stage) -> None:
    gate, host, coordinator = await gated(stage, queue_limit=5, max_batch_size=8)

    asked = [asyncio.create_task(coordinator.infer("gate", i)) for i in range(12)]
    async with gate.held():
        await eventually(lambda: sum(each.done() for each in asked) == 7, "seven are refused")
    with gate.open():
        answered = await asyncio.gather(*asked)

    assert sorted(each.status_code for each in answered) == [200] * 5 + [429] * 7
    assert host.lane.bouncer.admitted == 5
    await all_given_back(coordinator)


async def test_two_coordinators_together_never_get_more_than_the_limit_admitted(
    stage: Stage,
) -> None:
    gate, host, one = await gated(stage, queue_limit=5)
    two = await stage.coordinator()

    asked = [asyncio.create_task(each.infer("gate", i)) for i in range(8) for each in (one, two)]
    async with gate.held():
        await eventually(lambda: sum(each.done() for each in asked) == 11, "eleven are refused")
        assert host.lane.bouncer.occupied == 5
    with gate.open():
        answered = await asyncio.gather(*asked)

    assert sorted(each.status_code for each in answered) == [200] * 5 + [429] * 11
    await all_given_back(one)
    await all_given_back(two)


async def test_a_caller_who_leaves_while_uploading_gives_the_place_back(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, coordinator = await gated(stage)
    replica = coordinator.replica("gate")

    async with calling(coordinator.port) as caller:
        await caller.send(head() + b'{"inputs": {"x": [1')
        await eventually(lambda: replica.taken == 1, "a place is taken")

    await all_given_back(coordinator)
    assert not caplog.records


async def test_a_caller_who_leaves_while_it_is_predicted_gives_the_place_back(
    stage: Stage,
) -> None:
    gate, host, coordinator = await gated(stage)
    body = json.dumps({"inputs": {"x": [1]}}).encode()

    async with AsyncExitStack() as connection:
        caller = await connection.enter_async_context(calling(coordinator.port))
        await caller.send(head(length=len(body)) + body)
        async with gate.held():
            replica = coordinator.replica("gate")
            assert replica.taken == 1
            await connection.aclose()
            await eventually(lambda: replica.taken == 0, "the place is given back")
            assert host.lane.bouncer.occupied == 1, "the worker cannot be interrupted"

    await all_given_back(coordinator)


async def test_an_error_gives_the_place_back(stage: Stage) -> None:
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    broken = await coordinator.client.post(
        PATH, content=b"{", headers={"Content-Type": "application/json"}
    )
    invalid = await coordinator.infer("gate", 1, parameters={"invalid": "too-blue"})

    assert (broken.status_code, broken.json()["code"]) == (400, "invalid-json")
    assert (invalid.status_code, invalid.json()["code"]) == (422, "too-blue")
    await all_given_back(coordinator)


async def test_another_expectation_is_a_problem_where_there_is_no_body_either(
    stage: Stage,
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()
    public, admin = coordinator.client, coordinator.admin
    places = [(public, path) for path in ("/models", "/models/gate", "/livez", "/openapi.json")]
    places += [(admin, path) for path in ("/livez", "/fleet", "/models/gate/history")]

    for client, path in places:
        refused = await client.get(path, headers={"Expect": "the worst"})
        assert (refused.status_code, refused.json()["code"]) == (417, "unsupported-expectation")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Server"] == "demitasse"


async def test_a_deadline_that_passes_is_a_504_and_the_queue_is_left(stage: Stage) -> None:
    gate, host, coordinator = await gated(stage)
    started = time.monotonic()
    asked = [
        asyncio.create_task(coordinator.infer("gate", i, headers={"Demitasse-Timeout": "1"}))
        for i in range(3)
    ]
    async with gate.held():
        late = await asyncio.gather(*asked)
        took = time.monotonic() - started
        await eventually(lambda: host.lane.queued == 0, "those who waited have left the queue")

    assert [each.json()["code"] for each in late] == ["deadline-exceeded"] * 3
    assert [each.status_code for each in late] == [504] * 3
    assert took >= 1.0
    await all_given_back(coordinator)


async def test_a_place_is_not_held_for_a_body_that_comes_too_late(stage: Stage) -> None:
    _, _, coordinator = await gated(stage, queue_limit=1)

    async with calling(coordinator.port) as slow:
        await slow.send(head(Demitasse_Timeout="0.1") + b'{"inputs"')
        refused = await slow.reply()

    assert (refused.status, refused.json()["code"]) == (408, "body-timeout")
    await all_given_back(coordinator)


async def test_without_a_minion_a_model_is_503_and_says_when_to_return(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.infer("gate", 1)

    assert (refused.status_code, refused.json()["code"]) == (503, "not-serving")
    assert refused.headers["Retry-After"] == "2"


async def test_a_photo_for_one_model_goes_through_the_image_tier(stage: Stage) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()

    raw = await coordinator.client.post(
        "/models/picture/infer", content=photo(9, 8, 7), headers={"Content-Type": "image/png"}
    )
    form = await coordinator.client.post(
        "/models/picture/infer", files={"image": ("a.png", photo(9, 8, 7))}
    )
    array = await coordinator.client.post(
        "/models/picture/infer", json={"inputs": {"image": [[[9, 8, 7]] * 8] * 8}}
    )

    assert [each.json()["output"] for each in (raw, form, array)] == [{"colour": [9, 8, 7]}] * 3


async def test_a_model_that_wants_a_photo_in_two_sizes_gets_both(stage: Stage) -> None:
    stage.publish("views")
    await stage.decoder()
    await stage.host("views")
    coordinator = await stage.coordinator()
    sent = {"content": photo(9, 8, 7), "headers": {"Content-Type": "image/png"}}

    alone = await coordinator.client.post("/models/views/infer", **sent)
    among = await coordinator.client.post("/analyze", params={"models": "views"}, **sent)

    said = {"shapes": [[4, 6, 3], [8, 8, 3]]}
    assert alone.json()["output"] == said
    assert among.json()["images"][0]["models"]["views"]["output"] == said


async def test_a_photo_for_one_model_takes_a_place_at_the_decoder_before_it_is_read(
    stage: Stage,
) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()
    decoder = coordinator.replica("decoder")

    async with calling(coordinator.port) as caller:
        await caller.send(head("/models/picture/infer", Content_Type="image/png"))
        await eventually(lambda: decoder.taken == 1, "a place is taken at the decoder")

    await all_given_back(coordinator, "decoder")
    await all_given_back(coordinator, "picture")


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/analyze?models=picture", {}), ("/models/picture/infer", {"Expect": "100-continue"})],
)
async def test_a_photo_is_received_in_memory_that_the_decoder_sees(
    stage: Stage, path: str, fields: dict[str, str]
) -> None:
    stage.publish("picture")
    await stage.decoder()
    await stage.host("picture")
    coordinator = await stage.coordinator()
    parcels = coordinator.rooms.fleet.parcels
    assert parcels is not None
    grey = photo(7, 7, 7) + bytes(MIN_PARCEL_BYTES)  # what follows a file's end is not looked at

    async with calling(coordinator.port) as caller:
        await caller.send(head(path, len(grey), Content_Type="image/png", **fields))
        await eventually(lambda: parcels.taken == 1, "memory is taken")
        if fields:
            assert (await caller.head())[0] == 100
        await caller.send(grey)
        reply = await caller.reply()

    assert reply.status == 200, reply.body
    assert b'"output":{"colour":[7.0,7.0,7.0]}' in reply.body
    await eventually(lambda: parcels.taken == 0, "it is given back")


async def test_the_list_of_models_says_what_is_ready(stage: Stage) -> None:
    stage.publish("gate")
    stage.publish("gate", version="1.1.0")
    await stage.host("gate")
    coordinator = await stage.coordinator()

    (model,) = (await coordinator.client.get("/models")).json()["models"]

    assert (model["name"], model["default"], model["aliases"]) == (
        "gate",
        "1.0.0",
        {"default": "1.0.0"},
    )
    assert [(v["version"], v["serving"], v["ready"]) for v in model["versions"]] == [
        ("1.0.0", True, True),
        ("1.1.0", False, False),
    ]
    assert model["settings"]["queue_limit"] == 64


async def test_a_model_is_shown_though_its_default_was_removed_or_it_is_not_served_here(
    stage: Stage,
) -> None:
    stage.publish("gate")
    stage.publish("gate", version="2.0.0")
    stage.publish("gate", name="other")
    stage.catalog.remove_alias("gate", "default", who="test")
    coordinator = await stage.coordinator(only=["gate@1.0.0"])

    bare = (await coordinator.client.get("/models/gate")).json()
    other = (await coordinator.client.get("/models/other")).json()

    assert (bare["default"], other["default"]) == (None, "1.0.0")
    assert "x" in bare["input_schema"]["properties"]
    assert [version["serving"] for version in bare["versions"]] == [True, False]
    assert [version["serving"] for version in other["versions"]] == [False]


async def test_a_version_is_shown_with_its_schemas_and_aliases(stage: Stage) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    shown = (await coordinator.client.get("/models/gate/versions/1.0.0")).json()

    assert shown["aliases"] == ["default"]
    assert "x" in shown["input_schema"]["properties"]
    assert "x" in shown["output_schema"]["properties"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/models/nobody", "unknown-model"),
        ("/models/gate/versions/9.9.9", "unknown-version"),
        ("/models/gate/versions/canary", "unknown-alias"),
        ("/nowhere", "unknown-route"),
    ],
)
async def test_what_there_is_not_is_a_404_that_lists_what_there_is(
    stage: Stage, path: str, code: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.client.get(path)

    assert (refused.status_code, refused.json()["code"]) == (404, code)
    assert code == "unknown-route" or refused.json()["available"]
    assert refused.headers["Content-Type"] == "application/problem+json"


async def test_it_is_alive_at_once_and_ready_when_the_image_tier_and_a_marked_model_are(
    stage: Stage,
) -> None:
    stage.publish("picture")
    coordinator = await stage.coordinator()
    alive = await coordinator.client.get("/livez")
    unready = await coordinator.client.get("/readyz")

    await stage.decoder()
    await stage.host("picture")
    await coordinator.connected("decoder")
    await coordinator.connected("picture")
    ready = await coordinator.client.get("/readyz")

    assert alive.status_code == 200
    assert (unready.status_code, unready.json()["code"]) == (503, "not-serving")
    assert "decoder" in unready.json()["detail"]
    assert "picture" in unready.json()["detail"]
    assert ready.json() == {"ready": True, "models": {"picture": True}}
