"""What a server is told to serve. Standard library only: read in every peer's environment."""

from __future__ import annotations

import dataclasses
import enum
import json
import os

VARIABLE = "BENCHMARK_TASK"


class Work(enum.StrEnum):
    """What one request asks for."""

    TENSOR = "tensor"
    """The length of 37,632 little-endian float32."""
    JSON = "json"
    """The length of the list at `inputs.x` of a JSON document of 64 bytes."""
    PHOTO = "photo"
    """The five likeliest classes of a JPEG, from each of the networks."""
    PIXELS = "pixels"
    """The same of 224 x 224 x 3 bytes, RGB, that need no decoder."""


class Lent(enum.StrEnum):
    """What of ours a peer is given, for pictures."""

    NOTHING = "nothing"
    """It decodes with Pillow, in full, and resizes: what one writes first."""
    DECODER = "decoder"
    """It decodes as Demitasse does; networks run as they were written."""
    COMPILED = "compiled"
    """So do networks, as under `compile` of our torch base."""


#: What runs the networks.
PICTURES = (Work.PHOTO, Work.PIXELS)


@dataclasses.dataclass(frozen=True)
class Task:
    port: int
    work: Work
    workers: int = 1
    """Processes that run the model, one torch thread each."""
    max_batch_size: int = 32
    window_ms: int = 2
    lent: Lent = Lent.NOTHING
    networks: int = 1
    """How many networks look at each photo."""
    promise_seconds: float | None = None
    """Within which a model is to answer, for who can be told that."""

    def variables(self) -> dict[str, str]:
        """What to put into a server's environment."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}


def current() -> Task:
    """The task of this process, from its environment."""
    told = json.loads(os.environ[VARIABLE])
    return Task(**{**told, "work": Work(told["work"]), "lent": Lent(told["lent"])})
