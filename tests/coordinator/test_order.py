"""Whose turn it is reaches the queue by every road: class, caller, and the caller's weight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from stage import Coordinator, Gate, Host, Stage, photo

from coordinator.metrics import exposition, flush
from tests.waiting import eventually

Send = Callable[[Coordinator, int, dict[str, str]], Awaitable[httpx.Response]]


async def express(coordinator: Coordinator, n: int, headers: dict[str, str]) -> httpx.Response:
    return await coordinator.infer("gate", n, headers=headers)


async def by_aiohttp(coordinator: Coordinator, n: int, headers: dict[str, str]) -> httpx.Response:
    return await coordinator.infer("gate", n, headers=headers, params={"timeout": "20"})


async def remembered(coordinator: Coordinator, n: int, headers: dict[str, str]) -> httpx.Response:
    return await coordinator.infer("sure", n, headers=headers)


async def one_photo(coordinator: Coordinator, n: int, headers: dict[str, str]) -> httpx.Response:
    return await coordinator.client.post(
        "/models/picture/infer",
        content=photo(n, 0, 0),
        headers={"Content-Type": "image/png", **headers},
    )


async def analyze(coordinator: Coordinator, n: int, headers: dict[str, str]) -> httpx.Response:
    return await coordinator.analyze(photo(n, 0, 0), params={"models": "picture"}, headers=headers)


ROADS = [(express, "gate"), (by_aiohttp, "gate"), (remembered, "sure"), (one_photo, "picture"),
         (analyze, "picture")]  # fmt: skip


def waits_for_others() -> list[bytes]:
    """What this process counts of those who wait for another's computation."""
    flush()
    lines = exposition().splitlines()
    return [line for line in lines if line.startswith(b"demitasse_shared_flights_total")]


class Waiting:
    """Requests for a model behind a gate, of which the first runs and the others wait."""

    def __init__(self, coordinator: Coordinator, send: Send, host: Host, gate: Gate) -> None:
        self._coordinator = coordinator
        self._send = send
        self._host = host
        self._gate = gate
        self._asked: dict[asyncio.Task[httpx.Response], str] = {}

    async def ask(self, name: str, **headers: str) -> None:
        sent = {f"Demitasse-{key.title()}": value for key, value in headers.items()}
        number = len(self._asked)
        self._asked[asyncio.create_task(self._send(self._coordinator, number, sent))] = name
        lane = self._host.lane
        await eventually(
            lambda: (lane.bouncer.occupied, lane.queued) == (number + 1, number),
            f"{name} waits",
        )

    async def send(self, number: int) -> httpx.Response:
        """The same as the one with this number, by somebody else."""
        return await self._send(self._coordinator, number, {})

    async def order(self) -> list[str]:
        """Lets one after another through."""
        names = []
        while self._asked:
            async with self._gate.held():
                pass
            done, _ = await asyncio.wait(self._asked, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                assert task.result().status_code == 200, task.result().text
                names.append(self._asked.pop(task))
        return names


async def waiting(stage: Stage, send: Send, model: str, **settings: str) -> Waiting:
    package = "picture" if model == "picture" else "gate"
    stage.publish(package, name=model, accuracy=0.99 if model == "sure" else None)
    gate = stage.gate()
    host = await stage.host(model, options={"gate": str(gate.path)})
    if model == "picture":
        await stage.decoder()
    return Waiting(await stage.coordinator(**settings), send, host, gate)


@pytest.mark.parametrize(("send", "model"), ROADS)
async def test_the_urgent_go_before_those_in_bulk(stage: Stage, send: Send, model: str) -> None:
    queue = await waiting(stage, send, model)
    await queue.ask("running")
    await queue.ask("shadow", **{"class": "shadow"})
    await queue.ask("bulk", **{"class": "bulk"})
    await queue.ask("urgent", **{"class": "interactive"})

    assert await queue.order() == ["running", "urgent", "bulk", "shadow"]


@pytest.mark.parametrize(("send", "model"), ROADS)
async def test_one_caller_with_many_does_not_hold_up_another(
    stage: Stage, send: Send, model: str
) -> None:
    queue = await waiting(stage, send, model)
    for name in ("running", "first", "second", "third"):
        await queue.ask(name, caller="many")
    await queue.ask("another's", caller="one")

    assert (await queue.order()).index("another's") <= 2


async def test_whoever_gives_no_name_is_one_caller_by_its_address(stage: Stage) -> None:
    queue = await waiting(stage, express, "gate")
    for name in ("running", "first", "second", "third"):
        await queue.ask(name)
    await queue.ask("named", caller="one")

    assert (await queue.order()).index("named") <= 2


async def test_a_caller_of_little_weight_waits_longer(stage: Stage) -> None:
    queue = await waiting(stage, express, "gate", caller_weights="nightly=0.25")
    await queue.ask("running", caller="app")
    await queue.ask("nightly", caller="nightly")
    for name in ("first", "second", "third"):
        await queue.ask(name, caller="app")

    assert (await queue.order()).index("nightly") == 4


@pytest.mark.parametrize(
    ("header", "value"), [("Demitasse-Class", "urgent"), ("Demitasse-Caller", "a b")]
)
@pytest.mark.parametrize("path", ["/models/gate/infer", "/models/gate/infer?timeout=5", "/analyze"])
async def test_what_is_no_class_or_no_caller_is_refused_by_every_road(
    stage: Stage, path: str, header: str, value: str
) -> None:
    stage.publish("gate")
    coordinator = await stage.coordinator()

    refused = await coordinator.client.post(
        path, json={"inputs": {"x": [1]}}, headers={header: value}
    )

    assert refused.status_code == 400, refused.text
    assert (refused.json()["code"], refused.json()["field"]) == ("invalid-parameter", header)


async def test_who_waits_for_anothers_computation_does_not_hurry_it(stage: Stage) -> None:
    queue = await waiting(stage, analyze, "picture")
    await queue.ask("running")
    await queue.ask("bulk", **{"class": "bulk"})
    before = waits_for_others()
    joining = asyncio.create_task(queue.send(1))
    await eventually(lambda: waits_for_others() != before, "it waits for the one in bulk")
    await queue.ask("urgent")

    order = await queue.order()

    assert order == ["running", "urgent", "bulk"]
    assert (await joining).json()["images"][0]["models"]["picture"]["shared"] is True
