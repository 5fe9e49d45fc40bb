"""Services of the models in `models/zoo.py`, and ways to wait for what they do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minion.host.examples import Failed, Outcome
from minion.host.lane import Lane
from minion.host.server import run_one
from minion.host.spec import InputSpec, ServiceSpec
from wire.answers import unpack_answer
from wire.tensor import Tensor

MODELS = Path(__file__).parent / "models"
POISON = 13.0
DEADLINE_SECONDS = 20.0


def service(model: str, **changes: Any) -> ServiceSpec:
    """A spec of one class of the zoo, run by this interpreter."""
    values: dict[str, Any] = {
        "model": "zoo",
        "version": "1.0.0",
        "replica": "zoo-1.0.0-0",
        "epoch": 7,
        "python": sys.executable,
        "directory": str(MODELS),
        "entry": f"zoo:{model}",
        "inputs": {"x": InputSpec("float32", (1,))},
        "queue_limit": 64,
        "max_batch_size": 8,
        "max_queue_delay_seconds": 0.0,
        "load_timeout_seconds": DEADLINE_SECONDS,
        "predict_timeout_seconds": DEADLINE_SECONDS,
    }
    return ServiceSpec(**{**values, **changes})


def x(value: float) -> dict[str, Tensor]:
    return {"x": Tensor.from_array(np.array([value], np.float32))}


async def ask(lane: Lane, value: float, **parameters: Any) -> Any:
    """One example through the lane: the answer, or the Failed."""
    outcome = await asyncio.wait_for(run_one(lane, x(value), parameters), DEADLINE_SECONDS)
    return read(outcome)


async def ask_all(lane: Lane, *values: float) -> list[Any]:
    """All at once, so that they may share batches; outcomes in order."""
    return await asyncio.gather(*(ask(lane, value) for value in values))


def read(outcome: Outcome) -> Any:
    return outcome if isinstance(outcome, Failed) else unpack_answer(outcome.answer)


class Gate:
    """Lets batches of the model `Gated` through, one by one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(self.path)
        self._descriptor = os.open(self.path, os.O_RDWR)

    @property
    def options(self) -> dict[str, str]:
        return {"gate": str(self.path)}

    def open_for(self, batches: int) -> None:
        os.write(self._descriptor, b"." * batches)

    def close(self) -> None:
        os.close(self._descriptor)
