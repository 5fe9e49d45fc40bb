"""The commands that make an environment: `virtualenv`, then uv or pip, then a check.

uv is five times quicker than pip and reads none of its settings, so both are
told in their own words where packages come from. Everything is compiled to
bytecode: a build takes longer by what the first imports would (TensorFlow and
keras), or more (torch, most of which is never imported), and no worker ever
compiles, not in its first start and not in its first request. (2 cores,
2026-11-21, from uv's cache, seconds of the installation, then of the first and
of a later import. torch 2.13: 0.3, 2.4, 1.0; compiled 6.0, 1.0, 1.0. TensorFlow
2.19: 1.1, 5.8, 1.7; compiled 4.9, 1.7, 1.7. keras 3.15 on TensorFlow 2.21: 0.9,
6.3, 1.7; compiled 5.5, 1.7, 1.7. scikit-learn 1.9: 0.2, 2.4, 0.7; compiled 3.2,
0.7, 0.7.) Called by the builder, under its lock.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from envs import kit
from envs.sources import InstallOptions
from envs.spec import EnvironmentSpec
from envs.steps import Progress, Steps

#: Variables that make an interpreter or an installer look elsewhere than it is told.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX")
_CHECK = "import msgpack, minion.worker.__main__"


def find_uv() -> Path | None:
    """The uv beside us or on PATH; None where there is none."""
    try:
        import uv

        return Path(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        return Path(found) if found else None


def make(
    directory: Path,
    spec: EnvironmentSpec,
    *,
    kit_folder: Path,
    uv: Path | None,
    log_path: Path,
    progress: Progress,
) -> None:
    """Make an environment in a folder that is not there yet.

    Raises:
        BuildFailed: names the step.
    """
    steps = Steps(directory.parent, log_path, _variables(spec.options), progress)
    virtualenv = [sys.executable, "-P", "-m", "virtualenv", "--no-periodic-update"]
    steps.run(
        f"making an environment for Python {spec.interpreter.version}",
        [*virtualenv, "--python", str(spec.interpreter.path), str(directory)],
    )
    requirements = directory / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in spec.requirements), "utf-8")
    python = str(directory / "bin" / "python")
    steps.run(
        f"installing {', '.join(spec.requirements)}",
        [*_installer(python, uv), "--requirement", str(requirements)],
    )
    kit.expose(kit_folder, site_packages(directory))
    steps.run("checking that the author's kit can be imported", [python, "-I", "-c", _CHECK])


def site_packages(directory: Path) -> Path:
    """Where an environment's packages lie."""
    return next(directory.glob("lib/python3*/site-packages"))


def _installer(python: str, uv: Path | None) -> list[str]:
    if uv is not None:
        return [str(uv), "pip", "install", "--compile-bytecode", "--python", python]
    pip = [python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [*pip, "install", "--progress-bar", "off"]


def _variables(options: InstallOptions) -> Mapping[str, str]:
    """Our variables, less what misleads, plus the sources of packages for pip and uv."""
    variables = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # As pip chooses: the best version of any source, not the first source that has one.
    variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    for names, values, separators in (
        (("PIP_INDEX_URL", "UV_INDEX_URL"), (options.index_url,), "  "),
        (("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"), options.extra_index_urls, "  "),
        (("PIP_FIND_LINKS", "UV_FIND_LINKS"), options.find_links, " ,"),
        (("PIP_CERT", "SSL_CERT_FILE"), (options.cert,), "  "),
    ):
        given = [value for value in values if value]
        for name, separator in zip(names, separators, strict=True):
            if given:
                variables[name] = separator.join(given)
    return variables
