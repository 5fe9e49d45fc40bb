"""The Pythons of this machine, and the one that a package asks for.

What a candidate is, it says itself: names and folders only tell where to look.
Used by `spec`; the manifest's reader asks `python_specifier`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from envs.errors import InvalidPython, PythonNotFound

OLDEST_PYTHON = "3.9"

_PROBE = """
import json, platform, sys, sysconfig
own = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([own, platform.python_version(), sysconfig.get_config_var("SOABI") or
                  sys.implementation.cache_tag, sysconfig.get_platform()]))
"""
_PROBE_SECONDS = 30
_NAMED_ON_PATH = [f"python3.{minor}" for minor in range(20, 8, -1)] + ["python3"]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python of this machine."""

    path: Path
    version: str
    abi: str
    """Implementation, version and flags of extension modules: `cpython-311-x86_64-linux-gnu`."""
    platform: str


def python_specifier(python: str | None) -> SpecifierSet:
    """`3.11` and `3.11.7` mean any below them; ranges are as in package metadata.

    Raises:
        InvalidPython: neither, or nothing but versions too old.
    """
    supported = SpecifierSet(f">={OLDEST_PYTHON}")
    if python is None:
        return supported
    plain = re.fullmatch(r"\d+(\.\d+)*", python)
    try:
        wanted = SpecifierSet(f"=={python}.*" if plain else python)
    except InvalidSpecifier as error:
        raise InvalidPython(python) from error
    too_old = plain and python != "3" and Version(python) < Version(OLDEST_PYTHON)
    if too_old or not wanted:
        raise InvalidPython(python)
    return wanted & supported


def find_interpreter(python: str | None) -> Interpreter:
    """The platform's own interpreter if it fits, else the first that does.

    Raises:
        InvalidPython, PythonNotFound
    """
    wanted = python_specifier(python)
    seen: list[Interpreter] = []
    for interpreter in interpreters():
        if wanted.contains(interpreter.version, prereleases=True):
            return interpreter
        seen.append(interpreter)
    there = ", ".join(
        sorted({one.version for one in seen if one.version in python_specifier(None)})
    )
    raise PythonNotFound(f'no Python on this machine fits "{python}"; there is {there}')


def interpreters() -> Iterator[Interpreter]:
    """Our own first, then pyenv's, then those on PATH, newest first; only ones that run."""
    for candidate in (Path(sys.executable), *_pyenv(), *_on_path()):
        interpreter = probe(candidate)
        if interpreter is not None:
            yield interpreter


@cache
def probe(candidate: Path) -> Interpreter | None:
    """What an executable says of itself; None if it is no Python that runs."""
    command = [str(candidate), "-I", "-c", _PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        )
        path, version, abi, platform = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # a shim without a version behind it, or something else of that name
    return Interpreter(Path(path), version, abi, platform)


def _pyenv() -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [folder for folder in root.glob("versions/3.*") if _version_of(folder) is not None]
    found.sort(key=lambda folder: _version_of(folder) or Version("0"), reverse=True)
    return [folder / "bin" / "python" for folder in found]


def _version_of(folder: Path) -> Version | None:
    try:
        return Version(folder.name)
    except InvalidVersion:
        return None


def _on_path() -> list[Path]:
    return [Path(path) for name in _NAMED_ON_PATH if (path := shutil.which(name))]
