"""The same photo again, and at the same time: computed once, remembered where that is right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest
from edge import Caller, Reply, calling
from prometheus_client import REGISTRY
from redis_server import RedisServer
from stage import Coordinator, Gate, Host, Stage, photo

from coordinator.cache import Entry
from coordinator.decoder import DECODER_VERSION
from coordinator.metrics import flush
from minion.host.bouncer import Ending
from tests.waiting import eventually
from wire.answers import Answer, pack_answer

RED, GREEN = photo(200, 0, 0), photo(0, 100, 0)


def counted(name: str, **labels: str) -> float:
    flush()
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Counted:
    """How much of something was counted since it was made."""

    def __init__(self, name: str, **labels: str) -> None:
        self._of = name, labels
        self._before = counted(name, **labels)

    def since(self) -> float:
        name, labels = self._of
        return counted(name, **labels) - self._before


def joined(model: str, version: str = "1.0.0") -> Counted:
    return Counted("demitasse_shared_flights_total", model=model, version=version)


async def served(stage: Stage, accuracy: float | None = None, **settings: Any) -> Host:
    """A picture, with a decoder beside it."""
    await stage.decoder()
    stage.publish("picture", accuracy=accuracy, queue_limit=settings.pop("queue_limit", 64))
    return await stage.host("picture", **settings)


async def gated(stage: Stage, **settings: Any) -> tuple[Gate, Host]:
    """A picture behind a gate that is shut."""
    gate = stage.gate()
    return gate, await served(stage, options={"gate": str(gate.path)}, **settings)


@asynccontextmanager
async def sending(
    coordinator: Coordinator, body: bytes = RED, query: str = ""
) -> AsyncIterator[Caller]:
    """A caller whose photo comes in one piece with its head."""
    async with calling(coordinator.port) as caller:
        head = (
            f"POST /analyze{query} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await caller.send(head.encode() + body)
        yield caller


async def five_at_once(coordinator: Coordinator, gate: Gate) -> list[Reply]:
    """What they are told; the gate is opened when four of them wait for the first."""
    others = joined("picture")
    async with AsyncExitStack() as callers:
        opened = [await callers.enter_async_context(sending(coordinator)) for _ in range(5)]
        await eventually(lambda: others.since() == 4, "four wait for the first")
        with gate.open():
            return [await caller.reply() for caller in opened]


def entry(reply: Reply | Any, model: str = "picture") -> dict[str, Any]:
    """The one model's part of the one photo's answer."""
    (image,) = reply.json()["images"]
    return dict(image["models"][model])


async def test_fifty_at_once_are_one_decode_and_one_execution_whatever_the_limit(
    stage: Stage,
) -> None:
    gate, host = await gated(stage, queue_limit=3)
    decoded = Counted(
        "demitasse_answers_total", model="decoder", version=DECODER_VERSION, code="ok"
    )
    coordinator, others = await stage.coordinator(), joined("picture")

    async with AsyncExitStack() as callers:
        opened = [await callers.enter_async_context(sending(coordinator)) for _ in range(50)]
        async with gate.held():
            await eventually(lambda: others.since() == 49, "all wait for the one")
            assert coordinator.replica("picture").taken == 1
            assert coordinator.replica("decoder").taken == 0
        replies = [await caller.reply() for caller in opened]

    assert [reply.status for reply in replies] == [200] * 50
    assert [entry(reply)["output"] for reply in replies] == [{"colour": [200, 0, 0]}] * 50
    assert sum("shared" in entry(reply) for reply in replies) == 49
    assert (host.lane.bouncer.admitted, decoded.since()) == (1, 1)


async def test_a_version_that_is_not_pure_is_asked_by_each_and_never_answers_from_memory(
    stage: Stage,
) -> None:
    gate = stage.gate()
    await stage.decoder()
    stage.publish("picture", accuracy=0.9, pure=False, queue_limit=3)
    host = await stage.host("picture", options={"gate": str(gate.path)})
    coordinator = await stage.coordinator()

    async with sending(coordinator) as first, sending(coordinator) as second:
        async with gate.held():
            await eventually(lambda: coordinator.replica("picture").taken == 2, "each has a place")
        with gate.open():
            replies = [entry(await first.reply()), entry(await second.reply())]
            replies.append(entry(await coordinator.analyze(RED)))

    assert not any({"shared", "cached"} & reply.keys() for reply in replies)
    assert host.lane.bouncer.admitted == 3


async def test_of_fifty_other_photos_those_beyond_the_limit_are_refused(stage: Stage) -> None:
    gate, _ = await gated(stage, queue_limit=3)
    coordinator = await stage.coordinator()

    async with AsyncExitStack() as callers:
        opened = [
            await callers.enter_async_context(sending(coordinator, photo(i, 0, 0)))
            for i in range(8)
        ]
        with gate.open():
            replies = [await caller.reply() for caller in opened]

    assert sorted(reply.status for reply in replies) == [200] * 3 + [429] * 5


async def test_the_shared_answer_says_so_and_tells_its_own_wait(stage: Stage) -> None:
    gate, _ = await gated(stage)
    coordinator, others = await stage.coordinator(), joined("picture")

    async with sending(coordinator) as first, sending(coordinator) as second:
        async with gate.held():
            await eventually(lambda: others.since() == 1, "the second waits")
        one, two = entry(await first.reply()), entry(await second.reply())

    assert "shared" not in one
    assert set(one["timeline_ms"]) == {"queue", "predict", "link"}
    assert two["shared"] is True
    assert set(two["timeline_ms"]) == {"shared"}
    assert (one["output"], one["version"]) == (two["output"], two["version"])


async def test_a_photo_that_was_asked_about_before_is_answered_from_memory(stage: Stage) -> None:
    host = await served(stage, accuracy=0.9)
    coordinator = await stage.coordinator()
    decoder = coordinator.replica("decoder")

    first = await coordinator.analyze(RED)
    again = await coordinator.analyze(RED)
    other = await coordinator.analyze(GREEN)

    assert "cached" not in entry(first)
    assert entry(again)["cached"] is True
    assert set(entry(again)["timeline_ms"]) == {"cache"}
    same = ("version", "output", "batch_size", "replica")
    assert [entry(again)[name] for name in same] == [entry(first)[name] for name in same]
    (image,) = again.json()["images"]
    assert (image["width"], image["height"], image["format"]) == (16, 12, "PNG")
    assert image["timeline_ms"]["decode"] == 0.0
    assert "cached" not in entry(other)
    assert host.lane.bouncer.admitted == 2
    assert (decoder.taken, coordinator.replica("picture").taken) == (0, 0)


async def test_a_photo_is_the_same_on_either_route_and_in_any_wrapping(stage: Stage) -> None:
    host = await served(stage, accuracy=0.9)
    coordinator = await stage.coordinator()

    as_body = {"content": RED, "headers": {"Content-Type": "image/png"}}
    first = await coordinator.client.post("/models/picture/infer", **as_body)
    again = await coordinator.client.post("/models/picture/infer", **as_body)
    in_a_form = await coordinator.analyze(RED)

    assert "cached" not in first.json()
    assert again.json()["cached"] is True
    assert again.json()["output"] == first.json()["output"]
    assert entry(in_a_form)["cached"] is True
    assert host.lane.bouncer.admitted == 1


@pytest.mark.parametrize(
    ("accuracy", "settings"),
    [
        pytest.param(None, {}, id="not recorded"),
        pytest.param(0.79, {}, id="too low"),
        pytest.param(0.9, {"cache_min_accuracy": 0.95}, id="below the setting"),
        pytest.param(0.9, {"cache_bytes": 0}, id="turned off"),
    ],
)
async def test_of_a_version_that_is_not_accurate_enough_nothing_is_remembered(
    stage: Stage, accuracy: float | None, settings: dict[str, Any]
) -> None:
    host = await served(stage, accuracy)
    coordinator = await stage.coordinator(**settings)

    for _ in range(3):
        assert "cached" not in entry(await coordinator.analyze(RED))

    assert host.lane.bouncer.admitted == 3


async def test_a_better_version_that_is_published_ends_the_memory_of_the_one_before(
    stage: Stage,
) -> None:
    host = await served(stage, accuracy=0.9)
    coordinator = await stage.coordinator()
    for _ in range(2):
        remembered = await coordinator.analyze(RED)
    assert counted("demitasse_cache_bytes") > 0

    stage.publish("picture", version="1.0.1", accuracy=0.905)
    await coordinator.rooms.directory.refresh()
    still = await coordinator.analyze(RED)
    stage.publish("picture", version="1.1.0", accuracy=0.91)
    await coordinator.rooms.directory.refresh()
    pinned = [await coordinator.analyze(RED, params={"models": "picture@1.0.0"}) for _ in range(2)]

    assert entry(remembered)["cached"] is entry(still)["cached"] is True
    assert ["cached" in entry(each) for each in pinned] == [False, False]
    assert host.lane.bouncer.admitted == 3
    assert counted("demitasse_cache_bytes") == 0


async def test_models_that_remember_are_not_asked_beside_one_that_does_not(stage: Stage) -> None:
    host = await served(stage, accuracy=0.9)
    stage.publish("picture", name="guess")
    guess = await stage.host("guess")
    coordinator = await stage.coordinator()

    for _ in range(2):
        (image,) = (await coordinator.analyze(RED)).json()["images"]

    assert image["models"]["picture"]["cached"] is True
    assert "cached" not in image["models"]["guess"]
    assert (host.lane.bouncer.admitted, guess.lane.bouncer.admitted) == (1, 2)
    assert image["timeline_ms"]["decode"] > 0


async def test_who_is_answered_from_memory_keeps_no_place_while_others_are_waited_for(
    stage: Stage,
) -> None:
    gate = stage.gate()
    await served(stage, accuracy=0.9, queue_limit=1)
    stage.publish("picture", name="slow")
    slow = await stage.host("slow", options={"gate": str(gate.path)})
    coordinator = await stage.coordinator()
    await coordinator.analyze(RED, params={"models": "picture"})

    async with sending(coordinator) as caller:
        async with gate.held():
            await eventually(lambda: slow.lane.bouncer.occupied == 1, "the slow one is asked")
            assert coordinator.replica("picture").taken == 0
            other = await coordinator.analyze(GREEN, params={"models": "picture"})
        answer = await caller.reply()

    assert entry(other)["output"] == {"colour": [0, 100, 0]}
    assert entry(answer)["cached"] is True


async def test_a_model_that_is_away_answers_what_it_is_known_to_say(stage: Stage) -> None:
    host = await served(stage, accuracy=0.9)
    stage.publish("picture", name="guess")
    await stage.host("guess")
    coordinator = await stage.coordinator()
    await coordinator.analyze(RED)
    await host.stop()
    await eventually(lambda: not coordinator.rooms.fleet.ready("picture", "1.0.0"), "it is gone")

    (known,) = (await coordinator.analyze(RED)).json()["images"]
    (unknown,) = (await coordinator.analyze(GREEN)).json()["images"]

    assert known["models"]["picture"]["cached"] is True
    assert unknown["models"]["picture"]["error"]["code"] == "not-serving"
    assert "output" in unknown["models"]["guess"]


async def test_a_photo_that_is_in_one_request_twice_is_computed_once(stage: Stage) -> None:
    host = await served(stage, queue_limit=2)
    coordinator = await stage.coordinator()

    answer = await coordinator.analyze(RED, GREEN, RED, RED)

    outputs = [each["models"]["picture"]["output"] for each in answer.json()["images"]]
    red, green = {"colour": [200, 0, 0]}, {"colour": [0, 100, 0]}
    assert outputs == [red, green, red, red]
    assert host.lane.bouncer.admitted == 2


async def test_two_names_for_one_version_are_one_execution(stage: Stage) -> None:
    host = await served(stage)
    coordinator = await stage.coordinator()

    answer = await coordinator.analyze(RED, params={"models": "picture,picture@1.0.0"})

    (image,) = answer.json()["images"]
    assert image["models"]["picture"]["output"] == image["models"]["picture@1.0.0"]["output"]
    assert host.lane.bouncer.admitted == 1
    assert coordinator.replica("picture").taken == 0


async def test_a_leader_who_hangs_up_takes_no_follower_down(stage: Stage) -> None:
    gate, host = await gated(stage)
    stage.publish("picture", name="other")
    await stage.host("other", options={"gate": str(stage.gate("of-the-other").path)})
    coordinator, others = await stage.coordinator(), joined("picture")
    other = coordinator.replica("other")

    async with AsyncExitStack() as followers, sending(coordinator) as leader:
        await eventually(lambda: host.lane.bouncer.admitted, "the leader's is computed")
        asking = sending(coordinator, query="?models=picture")
        follower = await followers.enter_async_context(asking)
        await eventually(lambda: others.since() == 1, "the follower waits")
        async with gate.held():
            leader.hang_up()
            await eventually(lambda: not other.taken, "what only the leader wanted is called off")
        reply = await follower.reply()

    assert entry(reply)["output"] == {"colour": [200, 0, 0]}
    assert host.lane.bouncer.admitted == 1
    assert host.lane.bouncer.endings == {Ending.COMPLETED: 1}


async def test_when_all_have_hung_up_it_is_called_off(stage: Stage) -> None:
    gate, host = await gated(stage)
    coordinator, others = await stage.coordinator(), joined("picture")
    replicas = [coordinator.replica(name) for name in ("picture", "decoder")]

    async with sending(coordinator), sending(coordinator):
        await eventually(lambda: others.since() == 1, "the second waits")
        await eventually(lambda: host.lane.bouncer.admitted, "the first is computed")
    await eventually(lambda: not any(each.taken for each in replicas), "all places are free")
    endings = host.lane.bouncer.endings
    with gate.open():
        await eventually(lambda: sum(endings.values()), "it has ended")

    assert endings == {Ending.ABANDONED: 1}


async def test_a_follower_with_a_later_deadline_outlives_its_leaders(stage: Stage) -> None:
    gate, host = await gated(stage)
    coordinator, others = await stage.coordinator(), joined("picture")

    async with (
        sending(coordinator, query="?timeout=1.5") as leader,
        sending(coordinator) as follower,
    ):
        await eventually(lambda: others.since() == 1, "the follower waits")
        late = await leader.reply()
        with gate.open():
            reply = await follower.reply()

    assert (late.status, late.json()["code"]) == (504, "deadline-exceeded")
    assert reply.status == 200
    assert "shared" not in entry(reply)
    assert host.lane.bouncer.admitted == 2


async def test_a_followers_deadline_is_its_own(stage: Stage) -> None:
    gate, host = await gated(stage)
    coordinator = await stage.coordinator()

    async with sending(coordinator) as leader:
        async with gate.held(), sending(coordinator, query="?timeout=0.1") as follower:
            late = await follower.reply()
        reply = await leader.reply()

    assert (late.status, late.json()["code"]) == (504, "deadline-exceeded")
    assert reply.status == 200
    assert host.lane.bouncer.admitted == 1


async def test_of_what_a_model_dies_of_all_are_told_and_nobody_asks_again(stage: Stage) -> None:
    gate = stage.gate()
    marker = str(stage.home / "died")
    host = await served(stage, options={"gate": str(gate.path), "dies_twice": marker})

    replies = await five_at_once(await stage.coordinator(), gate)

    assert {(reply.status, reply.json()["code"]) for reply in replies} == {(422, "worker-crashed")}
    assert host.lane.bouncer.admitted == 1


async def test_what_is_wrong_with_a_photo_all_are_told_after_one_decode(stage: Stage) -> None:
    gate = stage.gate()
    stage.publish("picture")
    await stage.host("picture")
    decoder = await stage.fragile_decoder("raise", gate)

    replies = await five_at_once(await stage.coordinator(), gate)

    assert {(reply.status, reply.json()["code"]) for reply in replies} == {(422, "image-damaged")}
    assert decoder.lane.bouncer.admitted == 1


async def test_of_a_request_only_what_nobody_computes_is_computed_for_it(
    stage: Stage,
) -> None:
    gate, host = await gated(stage)
    stage.publish("picture", name="other")
    other = await stage.host("other")
    coordinator = await stage.coordinator()

    async with (
        sending(coordinator, query="?models=picture") as first,
        sending(coordinator, query="?models=picture,other") as second,
    ):
        async with gate.held():
            endings = other.lane.bouncer.endings
            await eventually(lambda: endings[Ending.COMPLETED], "the other has answered")
        one, two = await first.reply(), await second.reply()

    assert entry(two)["shared"] is True
    assert "shared" not in entry(two, "other")
    assert entry(one)["output"] == entry(two)["output"] == entry(two, "other")["output"]
    assert (host.lane.bouncer.admitted, other.lane.bouncer.admitted) == (1, 1)


async def sharing(stage: Stage, redis_server: RedisServer, **settings: Any) -> Coordinator:
    """A coordinator that has had an answer from Redis."""
    coordinator = await stage.coordinator(cache_redis_url=redis_server.url, **settings)
    await remembered_together(coordinator, redis_server)
    return coordinator


async def remembered_together(coordinator: Coordinator, redis_server: RedisServer) -> bytes:
    """A photo whose answer by this coordinator has reached Redis."""
    before = await redis_server.size()
    for shade in range(256):
        body = photo(shade, coordinator.port % 256, 0)
        await coordinator.analyze(body)
        for _ in range(20):
            if await redis_server.size() > before:
                return body
    raise AssertionError("nothing was written into Redis")


async def test_coordinators_that_share_a_redis_share_what_they_remember(
    stage: Stage, redis_server: RedisServer
) -> None:
    host = await served(stage, accuracy=0.9)
    one, two = [await sharing(stage, redis_server, cache_redis_timeout=10.0) for _ in range(2)]
    found = Counted(
        "demitasse_cache_lookups_total", model="picture", version="1.0.0", result="shared-hit"
    )
    body = await remembered_together(one, redis_server)
    computed = host.lane.bouncer.admitted

    here, there, again = [await each.analyze(body) for each in (one, two, two)]

    assert [entry(each)["cached"] for each in (here, there, again)] == [True] * 3
    assert entry(there)["output"] == entry(here)["output"]
    assert there.json()["images"][0]["width"] == 16
    assert host.lane.bouncer.admitted == computed
    assert found.since() == 1


def of_no_photo() -> bytes:
    """What is remembered of an example that was not made from a photo."""
    packed, _ = pack_answer({"colour": [0, 0, 0]})
    return Entry(Answer(memoryview(packed), []), 1, "picture-0", photo=None).encode()


@pytest.mark.parametrize(
    "instead", [b"something else", of_no_photo()], ids=["no entry", "no photo"]
)
async def test_what_no_coordinator_wrote_into_redis_is_computed(
    stage: Stage, redis_server: RedisServer, instead: bytes
) -> None:
    await served(stage, accuracy=0.9)
    one, two = [await sharing(stage, redis_server, cache_redis_timeout=10.0) for _ in range(2)]
    body = await remembered_together(one, redis_server)
    await redis_server.spoil(instead)

    answer = await two.analyze(body)

    assert answer.status_code == 200
    assert "cached" not in entry(answer)


@pytest.mark.parametrize("trouble", ["gone", "stunned"])
async def test_a_redis_in_trouble_fails_nobody(
    stage: Stage, redis_server: RedisServer, trouble: str
) -> None:
    await served(stage, accuracy=0.9)
    coordinator = await sharing(stage, redis_server, cache_redis_timeout=0.2)
    known = await remembered_together(coordinator, redis_server)
    failures = Counted("demitasse_cache_store_failures_total")

    with ExitStack() as ending:
        if trouble == "gone":
            redis_server.stop()
        else:
            ending.enter_context(redis_server.stunned())
        answers = [await coordinator.analyze(each) for each in (known, GREEN, GREEN)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert ["cached" in entry(answer) for answer in answers] == [True, False, True]
    assert failures.since() >= 1
