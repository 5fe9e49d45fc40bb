"""What is attacked: a coordinator with models and an image tier, on short deadlines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.coordinator.stage import Coordinator, open_stage

#: Short, so that half a request is soon given up.
DEADLINES = {
    "head_timeout": 0.3,
    "body_idle_timeout": 0.3,
    "body_timeout": 1.0,
    "lingering_time": 0.2,
    "keepalive_timeout": 0.4,
    "default_timeout": 10.0,
}
#: Small, so that they are reached.
LIMITS = {"max_image_bytes": 60_000, "max_body_bytes": 100_000, "max_json_bytes": 30_000}


@asynccontextmanager
async def platform(home: Path) -> AsyncIterator[Coordinator]:
    async with open_stage(home) as stage:
        for model in ("gate", "picture"):
            stage.publish(model, max_batch_size=8, queue_limit=200)
            await stage.host(model)
        await stage.decoder(queue_limit=200)
        yield await stage.coordinator(**DEADLINES, **LIMITS, max_inflated_bytes=80_000)
