"""Example packages in the environments that the platform builds for them."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from envs.builder import EnvironmentStore
from envs.spec import resolve
from model_registry.package import load_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"

Answers = list[dict[str, Any]]


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """interpreter("tagger"): the Python of the package's own environment."""
    store = EnvironmentStore(tmp_path_factory.mktemp("home") / "envs")

    def interpreter(name: str) -> Path:
        package = EXAMPLES / name
        manifest = load_manifest(package)
        spec = resolve(manifest.environment.python, manifest.requirements_text(package))
        return store.ensure(spec, progress=print).python

    return interpreter


@pytest.fixture(scope="session")
def serve(
    interpreter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Answers]:
    """serve("tagger", image=array): what the package answers under its own interpreter."""

    def serve(name: str, torch: Mapping[str, str] | None = None, **inputs: np.ndarray) -> Answers:
        package = EXAMPLES / name
        entry = load_manifest(package).entry
        arrays = tmp_path_factory.mktemp("inputs") / "arrays.npz"
        np.savez(arrays, **inputs)
        script = Path(__file__).with_name("serve_once.py")
        finished = subprocess.run(
            [interpreter(name), "-I", script, package, entry, arrays, json.dumps(torch or {})],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        answers: Answers = json.loads(finished.stdout.splitlines()[-1])
        return answers

    return serve


@pytest.fixture(scope="session")
def photo() -> Callable[[str, int], np.ndarray]:
    """photo("cat.jpg", 128): its centre, (128, 128, 3) uint8 RGB."""

    def photo(name: str, side: int) -> np.ndarray:
        with Image.open(EXAMPLES / "photos" / name) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
            return np.asarray(fitted)

    return photo
