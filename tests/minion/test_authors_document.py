"""docs/writing-a-model.md is true: its model is published as it stands and answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from minion.host.examples import Failed
from minion.host.lane import Lane
from minion.host.server import run_one
from minion.host.spec import ServiceSpec
from model_registry import manifest_parser
from model_registry.package import load_manifest
from tests.minion.service import read
from wire.tensor import Tensor

TEXT = (Path(__file__).parents[2] / "docs" / "writing-a-model.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "greeter.py").write_text(block("python"))
    (tmp_path / "model.toml").write_text(block("toml"))
    return tmp_path


def test_the_manifest_is_accepted(package: Path) -> None:
    manifest = load_manifest(package)

    assert (manifest.name, manifest.entry) == ("greeter", "greeter:Greeter")


async def test_the_model_answers(start_lane: Callable[..., Awaitable[Lane]], package: Path) -> None:
    spec = msgspec.json.decode(block("json"), type=ServiceSpec)
    lane = await start_lane(
        "Greeter",
        **{
            **{name: getattr(spec, name) for name in spec.__struct_fields__ if name != "model"},
            "python": sys.executable,
            "directory": str(package),
        },
    )

    def inputs(*values: float) -> dict[str, Tensor]:
        return {"x": Tensor.from_array(np.array(values, np.float32))}

    assert read(await run_one(lane, inputs(1, 2, 3), {})) == {"sum": 12.0}
    assert read(await run_one(lane, inputs(1, -2, 3), {})) == Failed(
        "negative", "x is negative", invalid_input=True
    )


def test_every_key_of_a_manifest_is_in_the_reference(package: Path) -> None:
    keys = set()
    for table in re.findall(r"\(((?:\"\w+\",? ?)+)\)", Path(manifest_parser.__file__).read_text()):
        keys |= set(re.findall(r'"(\w+)"', table))

    assert {"queue_limit", "predict_timeout", "resize", "metric"} <= keys
    missing = {key for key in keys if not re.search(rf"[`\[]{key}[`\].]", TEXT)}
    assert missing <= {"null"}


def test_its_json_is_json() -> None:
    assert json.loads(block("json"))["entry"]
