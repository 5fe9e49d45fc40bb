"""What one host serves, as its supervisor wrote it down: `python -m minion.host --spec FILE`.

Everything is resolved already: the environment is built, the version chosen,
the operator's settings applied. The host validates the file and trusts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from wire.tensor import TensorSpec
from wire.torch_options import TorchOptions
from wire.tuning import Tuning

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


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
    template: str | None = None
    """The Unix socket of a process that forks workers of this environment; it may be gone."""
    directory: str
    entry: str
    inputs: dict[str, InputSpec]
    pure: bool = True
    """Whether an example may be computed twice."""
    queue_limit: Positive | None = None
    promise_seconds: Seconds | None = None
    """Of queue limit and promise exactly one."""
    max_batch_size: Positive
    max_queue_delay_seconds: Seconds
    settings_revision: int = 0
    workers: Positive = 1
    spares: Annotated[int, msgspec.Meta(ge=0)] = 0
    """So many more are loaded, and take the place of one that has ended."""
    threads: Positive = 1
    device: str = "cpu"
    load_timeout_seconds: Seconds = 120.0
    predict_timeout_seconds: Seconds = 30.0
    retry_seconds: Seconds = 30.0
    """How often a worker is tried where all of them have failed."""
    memory_bytes: Positive | None = None
    """What a worker may hold; see `limits`."""
    temporary_bytes: Positive = 2**30
    """What its temporary folder may hold, and any file that it writes."""
    temporary: str | None = None
    """Where those folders are made, nobody else's; None: where the system has them."""
    max_requests: Positive | None = None
    """So many examples, and a worker is replaced."""
    starts: Positive = 1
    """So many workers start at once, of all hosts with the same `starts_folder`."""
    starts_folder: str | None = None
    """None: without a limit."""
    options: dict[str, Any] = {}
    torch: TorchOptions = TorchOptions()
    outputs: dict[str, dict[str, Any]] = {}
    """JSON Schema per field of an answer."""

    def __post_init__(self) -> None:
        if (self.queue_limit is None) == (self.promise_seconds is None):
            raise ValueError("either queue_limit or promise_seconds governs")

    @property
    def tuning(self) -> Tuning:
        return Tuning(
            self.queue_limit,
            self.max_batch_size,
            self.max_queue_delay_seconds,
            self.settings_revision,
            self.promise_seconds,
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
