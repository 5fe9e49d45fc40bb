"""Virtual environments with real frameworks, one per requirements file and test run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uv

ROOT = Path(__file__).parents[2]

Answers = list[dict[str, Any]]


def installed(directory: Path, requirements: Path) -> Path:
    """The interpreter of a new environment with these requirements."""
    tool = uv.find_uv_bin()
    python = directory / "bin" / "python"
    settings = {**os.environ}
    if "PIP_FIND_LINKS" in settings:
        settings["UV_FIND_LINKS"] = settings["PIP_FIND_LINKS"]
    install = [tool, "pip", "install", "-q", "-p", str(python), "-r", str(requirements), "msgpack"]
    subprocess.run([tool, "venv", "-q", "-p", sys.executable, str(directory)], check=True)
    subprocess.run(install, check=True, env=settings)
    return python


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answers]:
    """serve("tagger", "tagger:Tagger", image=array): what the package answers in its own env."""

    @cache
    def interpreter(requirements: str) -> Path:
        directory = tmp_path_factory.mktemp("environment")
        (directory / "requirements.txt").write_text(requirements)
        return installed(directory / "env", directory / "requirements.txt")

    def serve(name: str, entry: str, **inputs: np.ndarray) -> Answers:
        package = ROOT / "examples" / name
        arrays = tmp_path_factory.mktemp("inputs") / "arrays.npz"
        np.savez(arrays, **inputs)
        finished = subprocess.run(
            [
                interpreter((package / "requirements.txt").read_text()),
                Path(__file__).with_name("serve_once.py"),
                package,
                entry,
                arrays,
            ],
            env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
            text=True,
        )
        answers: Answers = json.loads(finished.stdout.splitlines()[-1])
        return answers

    return serve


@pytest.fixture(scope="session")
def photo() -> Callable[[str, int], np.ndarray]:
    """photo("cat.jpg", 128): its centre as the image tier would hand it over, (128, 128, 3)."""
    from PIL import Image, ImageOps

    def photo(name: str, side: int) -> np.ndarray:
        with Image.open(ROOT / "examples" / "photos" / name) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
            return np.asarray(fitted)

    return photo
