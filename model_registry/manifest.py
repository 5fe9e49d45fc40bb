"""What an author declares of one version: model.toml, checked and typed.

An object that exists is valid: everything is checked when the file is read, and
a mistake is a ManifestError that names file, key, value and what would be
accepted. Reads text and looks whether the named files are there; runs nothing
of the author's. Called when a package is published, and by whoever reads the
catalog.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from envs.errors import InvalidPython, InvalidRequirements
from envs.interpreters import python_specifier
from envs.requirements import normalise
from model_registry.manifest_table import ManifestError, Table
from model_registry.schema import (
    Schema,
    input_schema,
    object_schema,
    read_output,
    read_tensor,
)
from model_registry.settings import (
    MAX_BATCH_SIZE_RANGE,
    MAX_QUEUE_DELAY_RANGE,
    PROMISE_RANGE,
    QUEUE_LIMIT_RANGE,
    EffectiveSettings,
    Settings,
)
from wire.tensor import TensorSpec
from wire.torch_options import COMPILE_MODES, PRECISIONS, TorchOptions

__all__ = ["Manifest", "ManifestError", "load_manifest", "parse_manifest", "version_key"]

FILE_NAME = "model.toml"
RESERVED_NAMES = ("decoder",)  # the image tier's own minion
#: `preprocess.model` makes no larger image (48 MB); a model that asked for one would load and
#: never get an answer. The registry does not import it: a test compares the two.
MAX_IMAGE_SIDE = 4096
#: The metric that is compared: coordinators remember results of versions that have enough of it.
ACCURACY = "accuracy"
RESIZES = ("stretch", "crop", "pad")

_TOP_KEYS = (
    *("name", "version", "entry", "description", "analyze", "environment", "input", "output"),
    *("batching", "admission", "resources", "options", "torch", "quality", "release"),
)
_NUMBER = r"(0|[1-9]\d{0,8})"
_VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_WORKERS_RANGE = (1, 64)
_THREADS_RANGE = (1, 256)
_LOAD_TIMEOUT_RANGE = (1.0, 3600.0)
_PREDICT_TIMEOUT_RANGE = (0.001, 3600.0)


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
    threads: int
    """Per worker."""
    device: str
    """`cpu`, `cuda` or `cuda:N`; shared by the workers."""
    load_timeout: float
    predict_timeout: float


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


def load_manifest(package: Path) -> Manifest:
    """The manifest of a package's folder, compared with the files that it names.

    Raises:
        ManifestError: the file is missing, damaged or wrong, or a file that it names is missing.
    """
    path = package / FILE_NAME
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ManifestError(str(path), f"cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(str(path), f"is not UTF-8: {error}") from error
    manifest = parse_manifest(text, str(path))
    _check_files(manifest, package, str(path))
    return manifest


def parse_manifest(text: str, file: str) -> Manifest:
    """The manifest in a text; `file` is what errors call it.

    Raises:
        ManifestError: see above; the package's other files are not looked at.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(file, f"is not valid TOML: {error}") from error
    top = Table(
        file,
        "",
        values,
        _TOP_KEYS,
    )
    return _manifest(top)


def _manifest(top: Table) -> Manifest:
    inputs, image_inputs = _read_inputs(top)
    batching = top.table("batching", ("max_batch_size", "max_queue_delay"))
    queue_limit, promise = _read_admission(top)
    manifest = Manifest(
        name=_read_name(top),
        version=top.text(
            "version", pattern=_VERSION, expected='major.minor.patch, such as "1.0.0"'
        ),
        entry=top.text(
            "entry",
            pattern=r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
            expected='module:Class, such as "tagger:Tagger"',
        ),
        description=top.text("description", ""),
        analyze=top.flag("analyze", False),
        environment=_read_environment(top),
        inputs=MappingProxyType(inputs),
        image_inputs=image_inputs,
        outputs=MappingProxyType(_read_outputs(top)),
        queue_limit=queue_limit,
        promise=promise,
        max_batch_size=batching.integer("max_batch_size", MAX_BATCH_SIZE_RANGE, 1),
        max_queue_delay=batching.seconds("max_queue_delay", MAX_QUEUE_DELAY_RANGE, "0ms"),
        resources=_read_resources(top),
        options=MappingProxyType(_read_options(top)),
        torch=_read_torch(top),
        quality=_read_quality(top),
        release_notes=top.table("release", ("notes",)).text("notes", ""),
    )
    if manifest.analyze and not manifest.takes_photo:
        raise top.refusal(
            "analyze", "false, since not every input is filled from a photo by `resize`"
        )
    return manifest


def _read_name(top: Table) -> str:
    expected = (
        'lower-case letters, digits and "-", starting with a letter, at most 63 characters, '
        "and not " + " or ".join(f'"{name}"' for name in RESERVED_NAMES)
    )
    name = top.text("name", pattern=r"[a-z][a-z0-9-]{0,62}", expected=expected)
    if name in RESERVED_NAMES:
        raise top.refusal("name", expected)
    return name


def _read_environment(top: Table) -> Environment:
    table = top.table("environment", ("python", "requirements"))
    python = table.text("python") if table.value("python") is not None else None
    try:
        python_specifier(python)
    except InvalidPython as error:
        raise table.refusal("python", error.expected) from error
    requirements = table.value("requirements")
    if requirements is not None:
        table.text(
            "requirements",
            pattern=r"(?!/)(?!(.*/)?\.\.(/|$)).+",
            expected="a file in the package, such as requirements.txt",
        )
    return Environment(python, requirements)


def _read_inputs(top: Table) -> tuple[dict[str, TensorSpec], tuple[ImageInput, ...]]:
    inputs: dict[str, TensorSpec] = {}
    images: list[ImageInput] = []
    for name, values in top.tables(
        "input", "a table for each input, such as [input.image]"
    ).items():
        table = Table(top.file, f"input.{name}", values, ("dtype", "shape", "resize"))
        inputs[name] = spec = read_tensor(table)
        if table.value("resize") is not None:
            images.append(_read_image_input(table, name, spec))
    return inputs, tuple(images)


def _read_image_input(table: Table, name: str, spec: TensorSpec) -> ImageInput:
    resize = table.choice("resize", RESIZES)
    if spec.dtype != "uint8":
        raise table.refusal("dtype", '"uint8" for an input with `resize`')
    if len(spec.shape) != 3 or spec.shape[2] != 3 or min(spec.shape) < 1:
        raise table.refusal("shape", "[height, width, 3] for an input with `resize`")
    height, width, _ = spec.shape
    if max(height, width) > MAX_IMAGE_SIDE:
        raise table.refusal(
            "shape", f"height and width of at most {MAX_IMAGE_SIDE} for an input with `resize`"
        )
    return ImageInput(name, height, width, resize)


def _read_outputs(top: Table) -> dict[str, Schema]:
    fragments = top.tables("output", "a table for each field of an answer, such as [output.tags]")
    return {
        name: read_output(top.file, f"output.{name}", fragment)
        for name, fragment in fragments.items()
    }


def _read_admission(top: Table) -> tuple[int | None, float | None]:
    """Queue limit and promise; one of them is None."""
    table = top.table("admission", ("queue_limit", "promise"))
    if table.value("promise") is None:
        return table.integer("queue_limit", QUEUE_LIMIT_RANGE, 64), None
    if table.value("queue_limit") is not None:
        raise table.refusal("promise", "no promise beside a queue_limit; keep one of the two")
    low, high = PROMISE_RANGE
    promise = table.value("promise")
    if type(promise) in (int, float) and low <= promise <= high:
        return None, float(promise)
    return None, table.seconds("promise", PROMISE_RANGE)


def _read_resources(top: Table) -> Resources:
    table = top.table(
        "resources", ("workers", "threads", "device", "load_timeout", "predict_timeout")
    )
    return Resources(
        workers=table.integer("workers", _WORKERS_RANGE, 1),
        threads=table.integer("threads", _THREADS_RANGE, 1),
        device=table.text(
            "device", "cpu", pattern=r"cpu|cuda(:\d{1,3})?", expected="cpu, cuda or cuda:N"
        ),
        load_timeout=table.seconds("load_timeout", _LOAD_TIMEOUT_RANGE, "120s"),
        predict_timeout=table.seconds("predict_timeout", _PREDICT_TIMEOUT_RANGE, "30s"),
    )


def _read_options(top: Table) -> dict[str, Option]:
    options = top.value("options") or {}
    if not isinstance(options, dict):
        raise top.refusal("options", "a table")
    for name, value in options.items():
        if not isinstance(value, str | int | float | bool):
            table = Table(top.file, "options", options, options)
            raise table.refusal(name, "a string, a number, true or false")
    return options


def _read_torch(top: Table) -> TorchOptions:
    table = top.table("torch", ("precision", "compile"))
    choices = {"precision": PRECISIONS, "compile": COMPILE_MODES}
    return TorchOptions(
        **{
            key: table.choice(key, accepted)
            for key, accepted in choices.items()
            if table.value(key) is not None
        }
    )


def _read_quality(top: Table) -> Quality | None:
    if top.value("quality") is None:
        return None
    table = top.table("quality", ("metric", "value", "data"))
    quality = Quality(table.text("metric"), table.number("value"), table.text("data"))
    if quality.metric == ACCURACY and not 0 <= quality.value <= 1:
        raise table.refusal("value", f'a number from 0 to 1 for the metric "{ACCURACY}"')
    return quality


def _check_files(manifest: Manifest, package: Path, file: str) -> None:
    _check_entry(manifest, package, file)
    try:
        normalise(manifest.requirements_text(package) or "")
    except (OSError, UnicodeDecodeError, InvalidRequirements) as error:
        requirements = manifest.environment.requirements
        raise ManifestError(
            file,
            f'environment.requirements is "{requirements}"; expected a file of the package '
            f"with requirements ({error})",
            key="environment.requirements",
            value=requirements,
        ) from error


def _check_entry(manifest: Manifest, package: Path, file: str) -> None:
    """Looks the module and its class up in the package's text. Nothing is run."""

    def refuse(expected: str) -> NoReturn:
        problem = f'entry is "{manifest.entry}"; expected {expected}'
        raise ManifestError(file, problem, key="entry", value=manifest.entry)

    module_name, _, class_name = manifest.entry.partition(":")
    module = package.joinpath(*module_name.split("."))
    source = module.with_suffix(".py")
    if not source.is_file():
        source = module / "__init__.py"
    if not source.is_file():
        relative = module.with_suffix(".py").relative_to(package)
        refuse(f"a module of the package, and there is no {relative}")
    names = _names_bound_in(source)
    if names is not None and class_name not in names:
        refuse(f"a class of the module, and {source.relative_to(package)} has no {class_name}")


def _names_bound_in(source: Path) -> set[str] | None:
    """Every name that a module gives to something; None where that cannot be told.

    The model may bring a newer Python than ours, so what we cannot parse is not refused.
    """
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
    return None if "*" in names else names
