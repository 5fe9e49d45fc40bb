"""The decoder behind a real host: a photo that takes too much ends one worker, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minion.host.examples import Failed, Refused
from minion.host.lane import Lane
from minion.host.server import run_one
from minion.host.spec import InputSpec
from tests.bombs.catalogue import bombs
from tests.minion.service import DEADLINE_SECONDS, read
from tests.waiting import eventually
from wire.errors import Code
from wire.tensor import Tensor

StartLane = Callable[..., Awaitable[Lane]]

#: A quarter of a second within libwebp, which reads nothing meanwhile.
DEAR = bombs()["WebP, lossless, 14.1 megapixels"].make()
#: More than a small photo needs, less than that.
CPU_SECONDS = 0.08


def decoder(**changes: Any) -> dict[str, Any]:
    return {
        "model": "Decoder",
        "directory": str(Path.cwd()),
        "entry": "preprocess.model:Decoder",
        "inputs": {"file": InputSpec("uint8", (-1,))},
        "max_batch_size": 1,
        **changes,
    }


def photo() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "PNG")
    return file.getvalue()


async def decode(lane: Lane, file: bytes) -> Any:
    inputs = {"file": Tensor.from_array(np.frombuffer(file, np.uint8))}
    outcome = await asyncio.wait_for(run_one(lane, inputs, {}), DEADLINE_SECONDS)
    return read(outcome)


async def test_a_photo_that_takes_too_much_cpu_costs_one_worker_and_is_not_run_again(
    start_lane: StartLane,
) -> None:
    lane = await start_lane(**decoder(options={"cpu_seconds": CPU_SECONDS}))

    told = await decode(lane, DEAR)

    assert isinstance(told, Failed)
    assert told.code == Code.PREDICT_TIMEOUT
    await eventually(lambda: lane.keeper.ready() == 1, "a worker is ready")
    assert lane.keeper.restarts == 1
    with pytest.raises(Refused) as again:
        await decode(lane, DEAR)
    assert again.value.code is Code.PREDICT_TIMEOUT
    assert (await decode(lane, photo()))["width"] == 64
    assert lane.keeper.restarts == 1


async def test_the_same_photo_is_read_where_its_time_is_enough(start_lane: StartLane) -> None:
    lane = await start_lane(**decoder(options={"cpu_seconds": DEADLINE_SECONDS}))

    assert (await decode(lane, DEAR))["width"] == 4700
    assert lane.keeper.restarts == 0


async def test_a_photo_that_takes_too_long_by_the_wall_ends_alike(start_lane: StartLane) -> None:
    lane = await start_lane(
        **decoder(predict_timeout_seconds=0.08, options={"cpu_seconds": DEADLINE_SECONDS})
    )

    told = await decode(lane, DEAR)

    assert isinstance(told, Failed)
    assert told.code == Code.PREDICT_TIMEOUT
    await eventually(lambda: lane.keeper.ready() == 1, "a worker is ready")
    assert (await decode(lane, photo()))["width"] == 64
