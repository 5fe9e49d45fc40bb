"""What a coordinator counts adds up. The counters live as long as the process: differences."""

from __future__ import annotations

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families
from stage import Coordinator, Stage, photo

Sample = tuple[str, tuple[tuple[str, str], ...]]


async def scraped(coordinator: Coordinator) -> Counter[Sample]:
    text = (await coordinator.client.get("/metrics")).text
    return Counter(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def total(samples: Counter[Sample], name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, having), value in samples.items()
        if sample == name and labels.items() <= dict(having).items()
    )


async def test_requests_are_counted_by_route_status_and_code_and_timed_as_often(
    stage: Stage,
) -> None:
    stage.publish("gate")
    await stage.host("gate")
    coordinator = await stage.coordinator()
    before = await scraped(coordinator)

    for _ in range(3):
        await coordinator.infer("gate", 1)
    await coordinator.infer("gate", 1, parameters={"invalid": "too-blue"})
    await coordinator.infer("nobody", 1)
    await coordinator.client.get("/nowhere")
    after = await scraped(coordinator) - before

    route = {"route": "/models/{name}/infer"}
    requests = "demitasse_requests_total"
    assert total(after, requests, status="200", code="ok", **route) == 3
    assert total(after, requests, status="422", code="too-blue", **route) == 1
    assert total(after, requests, status="404", code="unknown-model", **route) == 1
    assert total(after, requests, status="404", code="unknown-route", route="unknown") == 1
    assert total(after, requests) == total(after, "demitasse_request_seconds_count")


@pytest.mark.parametrize("word", ["draining", "not-ready", "queue-full", "deadline-exceeded"])
async def test_a_models_word_that_is_one_of_ours_does_not_speak_for_us(
    stage: Stage, word: str
) -> None:
    stage.publish("gate")
    host = await stage.host("gate")
    coordinator = await stage.coordinator()

    answer = await coordinator.infer("gate", 1, parameters={"invalid": word})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert host.lane.bouncer.admitted == 1


async def test_of_a_models_words_the_first_have_series_and_the_others_are_counted(
    stage: Stage,
) -> None:
    stage.publish("gate", name="talkative")
    await stage.host("talkative")
    coordinator = await stage.coordinator()
    before = await scraped(coordinator)

    for number in range(70):
        await coordinator.infer("talkative", 1, parameters={"invalid": f"no-{number}"})
    after = await scraped(coordinator) - before

    answers = "demitasse_answers_total"
    assert total(after, answers, model="talkative") == 70
    assert total(after, answers, model="talkative", code="no-0") == 1
    assert total(after, answers, model="talkative", code="invalid-input") == 20


async def test_answers_are_counted_by_model_and_code_the_image_tiers_among_them(
    stage: Stage,
) -> None:
    stage.publish("picture", name="counted")
    await stage.decoder()
    await stage.host("counted")
    coordinator = await stage.coordinator()
    before = await scraped(coordinator)

    await coordinator.analyze(photo(1, 2, 3), photo(4, 5, 6), b"%PDF")
    after = await scraped(coordinator) - before

    answers = "demitasse_answers_total"
    assert total(after, answers, model="counted", version="1.0.0", code="ok") == 2
    assert total(after, answers, model="decoder", code="ok") == 2
    assert total(after, answers, model="decoder", code="image-format-unsupported") == 1
    assert total(after, answers) == 5


async def test_the_admin_listener_shows_the_same_numbers(stage: Stage) -> None:
    coordinator = await stage.coordinator()

    answer = await coordinator.admin.get("/metrics")

    assert "demitasse_requests_total" in answer.text


async def test_of_a_host_admitted_is_occupied_plus_ended_and_refused_is_counted(
    stage: Stage,
) -> None:
    stage.publish("gate", queue_limit=2)
    gate = stage.gate()
    host = await stage.host("gate", queue_limit=2, options={"gate": str(gate.path)})
    coordinator = await stage.coordinator()

    with gate.open():
        for parameters in ({}, {"invalid": "too-blue"}):
            await coordinator.infer("gate", 1, parameters=parameters)
    bouncer = host.lane.bouncer

    assert bouncer.admitted == bouncer.occupied + sum(bouncer.endings.values()) == 2
