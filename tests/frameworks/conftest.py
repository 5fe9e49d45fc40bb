"""Example packages in the environments that the platform builds for them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from envs.builder import EnvironmentStore
from envs.spec import resolve
from model_registry.manifest import load_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"

Answers = list[dict[str, Any]]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answers]:
    """serve("tagger", image=array): what the package answers under its own interpreter."""
    home = tmp_path_factory.mktemp("home")
    store = EnvironmentStore(home / "envs")

    def serve(name: str, **inputs: np.ndarray) -> Answers:
        package = EXAMPLES / name
        manifest = load_manifest(package)
        spec = resolve(manifest.environment.python, manifest.requirements_text(package))
        python = store.ensure(spec, progress=print).python
        arrays = tmp_path_factory.mktemp("inputs") / "arrays.npz"
        np.savez(arrays, **inputs)
        script = Path(__file__).with_name("serve_once.py")
        finished = subprocess.run(
            [python, "-I", script, package, manifest.entry, arrays],
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
