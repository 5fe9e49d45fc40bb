"""What an author declares of one version in its model.toml, checked and typed.

An object that exists is valid: `manifest_parser` makes one of a text or says what
is wrong with it, and `package` also looks whether the files are there that it
names. Values, and what follows from them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_registry.schema import Schema, input_schema, object_schema
from model_registry.settings import EffectiveSettings, Settings
from wire.tensor import TensorSpec
from wire.torch_options import TorchOptions

FILE_NAME = "model.toml"
#: The metric that is compared: coordinators remember results of versions that have enough of it.
ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the package asks of its virtual environment."""

    python: str | None
    """`3.11`, or a specifier such as `>=3.11,<3.13`; None: any that we support."""
    requirements: str | None
    """A file in the package."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An input that the image tier fills from a photo: uint8, (height, width, 3), RGB."""

    name: str
    height: int
    width: int
    resize: str
    """`stretch`, `crop` or `pad`."""


@dataclass(frozen=True, slots=True)
class Resources:
    workers: int
    spares: int
    """Workers beside those, loaded, for the place of one that ends."""
    threads: int
    """Per worker."""
    device: str
    """`cpu`, `cuda` or `cuda:N`; shared by the workers."""
    load_timeout: float
    predict_timeout: float
    memory: int | None
    """Bytes that a worker may hold; None: no limit."""
    temporary: int
    """Bytes in a worker's temporary folder, and in any file that it writes."""
    max_requests: int | None
    """So many examples, and a worker is replaced; None: never."""


Option = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of this version, on what."""

    metric: str
    value: float
    data: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model.toml. Durations are seconds."""

    name: str
    version: str
    entry: str
    """`module:Class`, the module in the package."""
    description: str
    analyze: bool
    """Part of `POST /analyze` when no models are named."""
    pure: bool
    """Whether the same example may be computed twice, where the answer to it was lost."""
    environment: Environment
    inputs: Mapping[str, TensorSpec]
    """By name; of one example, without the batch axis."""
    image_inputs: tuple[ImageInput, ...]
    outputs: Mapping[str, Schema]
    """JSON Schema per field of an answer; all are required."""
    queue_limit: int | None
    promise: float | None
    """Of queue limit and promise exactly one."""
    max_batch_size: int
    max_queue_delay: float
    resources: Resources
    options: Mapping[str, Option]
    """What `load` finds in `context.options`: the author's own knobs."""
    torch: TorchOptions
    quality: Quality | None
    release_notes: str

    @property
    def accuracy(self) -> float | None:
        """The recorded accuracy, from 0 to 1; None where another metric was measured, or none."""
        quality = self.quality
        return quality.value if quality is not None and quality.metric == ACCURACY else None

    @property
    def takes_photo(self) -> bool:
        """Whether a photo is all that the model needs."""
        return len(self.image_inputs) == len(self.inputs)

    def input_schema(self) -> Schema:
        """JSON Schema of `inputs` in `POST /models/{name}/infer`."""
        return input_schema(self.inputs)

    def output_schema(self) -> Schema:
        """JSON Schema of one answer."""
        return object_schema(self.outputs)

    def requirements_text(self, package: Path) -> str | None:
        """The content of the package's requirements file; None when it names none."""
        name = self.environment.requirements
        return None if name is None else (package / name).read_text("utf-8")

    def settings(self, tuned: Settings) -> EffectiveSettings:
        """The manifest's values under those that an operator tuned."""
        admitted_by: Settings | Manifest = self
        if tuned.queue_limit is not None or tuned.promise is not None:
            admitted_by = tuned
        return EffectiveSettings(
            queue_limit=admitted_by.queue_limit,
            promise=admitted_by.promise,
            max_batch_size=self.max_batch_size
            if tuned.max_batch_size is None
            else tuned.max_batch_size,
            max_queue_delay=self.max_queue_delay
            if tuned.max_queue_delay is None
            else tuned.max_queue_delay,
            revision=tuned.revision,
        )


def version_key(version: str) -> tuple[int, ...]:
    """What `major.minor.patch` sorts by: 1.10.0 comes after 1.9.0."""
    return tuple(int(number) for number in version.split("."))
