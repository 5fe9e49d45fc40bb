"""Some thousand requests that nobody should send; `make fuzz` sends more. See `attack`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import uvloop

from tests.coordinator.stage import Coordinator
from tests.fuzz.attack import (
    CODES,
    Answer,
    attack,
    exchanged,
    good_changes,
    good_ones,
    judged,
)
from tests.fuzz.cases import Cases
from tests.fuzz.platform import platform
from tests.waiting import eventually

SEED = os.environ.get("FUZZ_SEED", "demitasse")
CASES = int(os.environ.get("FUZZ_CASES", "2000"))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def held(coordinator: Coordinator) -> int:
    """Places at models and at the decoder, and parcels, that somebody has."""
    fleet = coordinator.rooms.fleet
    parcels = fleet.parcels.taken if fleet.parcels is not None else 0
    return parcels + sum(each.taken + each.occupied for each in fleet.all())


async def test_whatever_is_sent_is_answered_in_its_class_and_good_requests_after_it(
    tmp_path: Path,
) -> None:
    async with platform(tmp_path) as coordinator:
        port = coordinator.port
        findings, seen = await attack(port, Cases(SEED), range(CASES), partial(good_ones, port))
        await eventually(lambda: held(coordinator) == 0, "all places and memory are given back")

    assert not findings, "\n".join([f"FUZZ_SEED={SEED}", *map(str, findings[:5])])
    assert seen["200 ok"] > CASES / 50, "some are good all the same"
    assert len(seen) > 15, "and the others are refused for many reasons"


async def test_whatever_is_sent_to_the_admin_port_what_is_changed_is_valid(
    tmp_path: Path,
) -> None:
    async with platform(tmp_path) as coordinator:
        port = coordinator.admin.base_url.port or 0
        right = partial(good_changes, coordinator.port, port)
        cases = Cases(SEED, admin=True)
        findings, seen = await attack(port, cases, range(CASES // 2), right)

    assert not findings, "\n".join([f"FUZZ_SEED={SEED}", *map(str, findings[:5])])
    assert seen["200 ok"] > CASES / 50, "some are good all the same"
    assert len(seen) > 10, "and the others are refused for many reasons"


def test_the_same_seed_gives_the_same_cases_and_another_gives_others() -> None:
    first, again, other = (
        [Cases(seed).case(number).data for number in range(50)] for seed in ("a", "a", "b")
    )

    assert first == again
    assert first != other


OURS = {"server": "demitasse", "content-type": "application/problem+json"}


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(500, OURS, b'{"status": 500, "code": "internal-error"}'), "a 5xx"),
        (Answer(400, OURS, b'{"status": 400, "code": "nonsense"}'), "not documented"),
        (Answer(413, OURS, b'{"status": 413, "code": "bad-request"}'), "status"),
        (Answer(400, {**OURS, "content-type": "text/plain"}, b"400"), "no problem document"),
        (Answer(400, {}, b""), "who answers"),
        (Answer(200, {**OURS, "content-type": "application/json"}, b'{"x": NaN}'), "JSON"),
        (Answer(400, OURS, b"HTTP/1.1 200 OK"), "JSON"),
        (Answer(200, OURS, b"Traceback (most recent call last)"), "internals"),
    ],
)
def test_an_answer_that_should_not_be_is_found(answer: Answer, what: str) -> None:
    found, _ = judged(answer)

    assert found is not None
    assert what in found


@pytest.mark.parametrize("method", [b"HEAD", b"\r\nHEAD"])
async def test_to_head_there_is_no_body_whatever_follows(tmp_path: Path, method: bytes) -> None:
    async with platform(tmp_path) as coordinator:
        pipelined = method + b" /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
        pipelined += b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        answers = await exchanged(coordinator.port, pipelined)

    assert [(answer.status, answer.body) for answer in answers] == [(404, b"")]


def test_the_codes_are_read_from_the_page() -> None:
    assert (CODES["queue-full"], CODES["image-damaged"]) == (429, 422)
