"""What one host serves, as its supervisor wrote it down: `python -m minion.host --spec FILE`.

Everything is resolved already: the environment is built, the version chosen,
the operator's settings applied. The host validates the file and trusts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from wire.messages import Tuning
from wire.tensor import TensorSpec


class InputSpec(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one model, ready to be started."""

    model: str
    version: str
    replica: str
    epoch: int
    python: str
    """The interpreter of the model's environment."""
    directory: str
    entry: str
    inputs: dict[str, InputSpec]
    queue_limit: int
    max_batch_size: int
    max_queue_delay_seconds: float
    settings_revision: int = 0
    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    load_timeout_seconds: float = 120.0
    predict_timeout_seconds: float = 30.0
    options: dict[str, Any] = {}

    @property
    def tuning(self) -> Tuning:
        return Tuning(
            self.queue_limit,
            self.max_batch_size,
            self.max_queue_delay_seconds,
            self.settings_revision,
        )

    @property
    def tensor_specs(self) -> dict[str, TensorSpec]:
        return {name: TensorSpec(spec.dtype, spec.shape) for name, spec in self.inputs.items()}


def read_spec(path: Path) -> ServiceSpec:
    """The spec in a JSON file.

    Raises:
        msgspec.ValidationError: names the field that is missing or wrong.
    """
    return msgspec.json.decode(path.read_bytes(), type=ServiceSpec)


def write_spec(spec: ServiceSpec, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2))
