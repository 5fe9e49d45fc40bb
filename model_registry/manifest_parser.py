"""The text of a model.toml made a manifest, key by key.

A mistake is a ManifestError that names file, key, value and what would be
accepted. Reads no file and runs nothing of the author's: whether what is named
is there is looked at in `package`. Called when a package is published, and by
whoever reads the catalog.
"""

from __future__ import annotations

import tomllib
from types import MappingProxyType

from envs.errors import InvalidPython
from envs.interpreters import python_specifier
from model_registry.manifest import (
    ACCURACY,
    Environment,
    ImageInput,
    Manifest,
    Option,
    Quality,
    Resources,
)
from model_registry.manifest_table import ManifestError, Table
from model_registry.schema import Schema, read_output, read_tensor
from model_registry.settings import (
    MAX_BATCH_SIZE_RANGE,
    MAX_QUEUE_DELAY_RANGE,
    PROMISE_RANGE,
    QUEUE_LIMIT_RANGE,
)
from wire.names import NAME
from wire.tensor import TensorSpec
from wire.torch_options import COMPILE_MODES, PRECISIONS, TorchOptions

RESERVED_NAMES = ("decoder",)  # the image tier's own minion
#: `preprocess.model` makes no larger image (48 MB); a model that asked for one would load and
#: never get an answer. The registry does not import it: a test compares the two.
MAX_IMAGE_SIDE = 4096
RESIZES = ("stretch", "crop", "pad")

_TOP_KEYS = (
    *("name", "version", "entry", "description", "analyze", "pure", "environment", "input"),
    *("output", "batching", "admission", "resources", "options", "torch", "quality", "release"),
)
_NUMBER = r"(0|[1-9]\d{0,8})"
_VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_WORKERS_RANGE = (1, 64)
_SPARES_RANGE = (0, 8)
_THREADS_RANGE = (1, 256)
_LOAD_TIMEOUT_RANGE = (1.0, 3600.0)
_PREDICT_TIMEOUT_RANGE = (0.001, 3600.0)
_MEMORY_RANGE = (64 * 2**20, 2**44)
_TEMPORARY_RANGE = (2**20, 2**44)
_MAX_REQUESTS_RANGE = (1, 10**9)


def parse_manifest(text: str, file: str) -> Manifest:
    """The manifest in a text; `file` is what errors call it.

    Raises:
        ManifestError: it is none that can be used; the package's other files are not looked at.
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
        pure=top.flag("pure", True),
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
    name = top.text("name", pattern=NAME, expected=expected)
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
        "resources",
        (
            *("workers", "spares", "threads", "device", "load_timeout", "predict_timeout"),
            *("memory", "temporary", "max_requests"),
        ),
    )
    return Resources(
        workers=table.integer("workers", _WORKERS_RANGE, 1),
        spares=table.integer("spares", _SPARES_RANGE, 0),
        threads=table.integer("threads", _THREADS_RANGE, 1),
        device=table.text(
            "device", "cpu", pattern=r"cpu|cuda(:\d{1,3})?", expected="cpu, cuda or cuda:N"
        ),
        load_timeout=table.seconds("load_timeout", _LOAD_TIMEOUT_RANGE, "120s"),
        predict_timeout=table.seconds("predict_timeout", _PREDICT_TIMEOUT_RANGE, "30s"),
        memory=None if table.value("memory") is None else table.size("memory", _MEMORY_RANGE),
        temporary=table.size("temporary", _TEMPORARY_RANGE, "1GiB"),
        max_requests=None
        if table.value("max_requests") is None
        else table.integer("max_requests", _MAX_REQUESTS_RANGE, 1),
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
