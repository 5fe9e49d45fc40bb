"""coordinator/turns.py: of large bodies one is taken apart per turn of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from coordinator.errors import InvalidJson
from coordinator.http import payloads
from coordinator.http.media_types import JSON
from coordinator.turns import LARGE_BYTES
from tests.waiting import Turns
from wire.tensor import TensorSpec

SPECS = {"x": TensorSpec("float32", (-1,))}
LARGE = json.dumps({"inputs": {"x": [0.5] * (LARGE_BYTES // 4)}}).encode()
SMALL = b'{"inputs": {"x": [0.5]}}'


async def turns_of(*bodies: bytes) -> list[int]:
    """In which turn each of these, which are there at once, was taken apart."""
    clock = Turns()

    async def turn(body: bytes) -> int:
        with contextlib.suppress(InvalidJson):
            await payloads.example_in_turn(body, JSON, SPECS)
        return clock.now

    found = await asyncio.gather(*(turn(body) for body in bodies))
    clock.stop()
    return found


async def test_large_ones_are_taken_apart_in_turns_of_their_own_as_they_came() -> None:
    assert len(LARGE) > LARGE_BYTES

    turns = await turns_of(*[LARGE] * 5)

    assert turns == sorted(set(turns))


async def test_one_that_is_refused_holds_up_nobody() -> None:
    turns = await turns_of(LARGE, LARGE[:-1], LARGE)

    assert turns == sorted(set(turns))


async def test_small_ones_wait_for_nobody() -> None:
    *large, first, second = await turns_of(*[LARGE] * 3, SMALL, SMALL)

    assert first == second
    assert first < max(large)


async def test_who_leaves_while_it_waits_holds_up_nobody() -> None:
    tasks = [asyncio.create_task(payloads.example_in_turn(LARGE, JSON, SPECS)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()

    assert (await tasks[2]).inputs["x"].shape == (LARGE_BYTES // 4,)
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    await tasks[0]
