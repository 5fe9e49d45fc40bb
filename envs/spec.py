"""What an environment is made from, and the name that follows from it.

Finds the interpreter that a package asks for among those of this machine,
normalises requirements, and takes over what pip is set to install from. Two
specs with the same fingerprint are interchangeable. Builds nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

OLDEST_PYTHON = "3.9"
KIT_REQUIREMENTS = ("msgpack", "numpy")  # what `wire` and `minion.worker` import

_PROBE = """
import json, platform, sys, sysconfig
own = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([own, platform.python_version(), sysconfig.get_config_var("SOABI") or
                  sys.implementation.cache_tag, sysconfig.get_platform()]))
"""
_PROBE_SECONDS = 30
_NAMED_ON_PATH = [f"python3.{minor}" for minor in range(20, 8, -1)] + ["python3"]


class SpecError(ValueError):
    """What a package asks for cannot be had."""


class InvalidPython(SpecError):
    """Not a version or a range of versions."""

    expected = f'a version such as "3.11" or a range such as ">=3.11,<3.13", from {OLDEST_PYTHON}'


class PythonNotFound(SpecError):
    """No interpreter of this machine fits."""


class InvalidRequirements(SpecError):
    """A line that cannot be installed on another machine than the author's."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python of this machine."""

    path: Path
    version: str
    abi: str
    """Implementation, version and flags of extension modules: `cpython-311-x86_64-linux-gnu`."""
    platform: str


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """Where packages come from, as pip is set up on this machine."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    cert: str | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """All that an environment is made from."""

    interpreter: Interpreter
    requirements: tuple[str, ...]
    """Normalised and sorted, the kit's among them."""
    options: InstallOptions

    def fingerprint(self) -> str:
        """Equal for specs whose environments are interchangeable; short enough for a path."""
        parts = asdict(self)
        # The same interpreter elsewhere, or another certificate, makes no other environment.
        del parts["interpreter"]["path"], parts["options"]["cert"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def resolve(python: str | None, requirements: str | None) -> EnvironmentSpec:
    """The environment for a package.

    Args:
        python: a version or a range; None for the platform's own interpreter.
        requirements: the text of a requirements file; None for none.

    Raises:
        InvalidPython, InvalidRequirements: the package is at fault.
        PythonNotFound: names the interpreters that there are.
    """
    return EnvironmentSpec(find_interpreter(python), normalise(requirements or ""), pip_options())


# --- interpreters -----------------------------------------------------------------------------


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
        raise InvalidPython(f"{python!r} is not {InvalidPython.expected}") from error
    too_old = plain and python != "3" and Version(python) < Version(OLDEST_PYTHON)
    if too_old or not wanted:
        raise InvalidPython(f"{python!r} is not {InvalidPython.expected}")
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


# --- requirements -----------------------------------------------------------------------------


def normalise(text: str) -> tuple[str, ...]:
    """The lines of a requirements file in one spelling and order, with the kit's added.

    Raises:
        InvalidRequirements: a line that refers to the author's machine, or is no requirement.
    """
    lines = {_normal_line(line) for line in _logical_lines(text)}
    named = {re.split(r"[^a-z0-9-]", line, maxsplit=1)[0] for line in lines}
    lines.update(name for name in KIT_REQUIREMENTS if name not in named)
    return tuple(sorted(lines))


def _logical_lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\n", " ", text.replace("\r\n", "\n"))
    for line in joined.split("\n"):
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if stripped:
            yield stripped


def _normal_line(line: str) -> str:
    if line.startswith(("-r", "-c", "-e", "--requirement", "--constraint", "--editable")):
        raise InvalidRequirements(
            f'requirements: "{line}" refers to another file; expected names of packages, '
            'such as "torch==2.13.0"'
        )
    if line.startswith("-"):
        return " ".join(line.split())
    wanted, *hashes = re.split(r"\s+(?=--hash)", line)
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise InvalidRequirements(
            f'requirements: "{wanted}" is no requirement; expected the like of "torch==2.13.0"'
        ) from error
    if requirement.url is not None and requirement.url.startswith("file:"):
        raise InvalidRequirements(f'requirements: "{wanted}" is a file of this machine only')
    requirement.name = canonicalize_name(requirement.name)
    return " ".join([str(requirement), *hashes])


# --- pip's settings ---------------------------------------------------------------------------


@cache
def pip_options() -> InstallOptions:
    """What pip would use here: its configuration files and its variables."""
    settings = _pip_settings()

    def listed(key: str) -> tuple[str, ...]:
        return tuple(settings.get(key, "").split())

    return InstallOptions(
        index_url=settings.get("index-url"),
        extra_index_urls=listed("extra-index-url"),
        find_links=listed("find-links"),
        cert=settings.get("cert"),
    )


def _pip_settings() -> dict[str, str]:
    """Setting -> value, from `pip config list`: variables over [install] over [global]."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # no pip beside us
        return _pip_variables()
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in done.stdout.splitlines():
        section, _, setting = line.partition(".")
        key, _, value = setting.partition("=")
        if section in sections:
            sections[section][key] = str(ast.literal_eval(value))
    return sections["global"] | sections["install"] | sections[":env:"]


def _pip_variables() -> dict[str, str]:
    return {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
