"""Environments: each built once, kept, listed, pruned.

A virtual environment does not move, so it is built in its final place: under a
file lock, with a marker written last. One without a marker was interrupted and
is built again. Blocking: a build takes seconds to minutes. Called by whoever
starts minions, and by the command line.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from envs import installation, kit
from envs.errors import BuildFailed
from envs.spec import EnvironmentSpec
from envs.steps import Progress

__all__ = ["BuildFailed", "Environment", "EnvironmentInfo", "EnvironmentStore"]

_MARKER = "demitasse.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that is complete."""

    fingerprint: str
    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """What an environment was made from, and what that took."""

    fingerprint: str
    directory: Path
    python_version: str
    requirements: tuple[str, ...]
    built_at: datetime
    build_seconds: float
    size_bytes: int
    """Sum of its files; an installer's cache may share them."""


class EnvironmentStore:
    """Environments below one folder, and the author's kit in the folder `kit` beside it.

    Args:
        root: shared between the processes of one machine.
        use_uv: install with uv where it is present; else with pip.
    """

    def __init__(self, root: Path, *, use_uv: bool = True) -> None:
        self._root = root.absolute()
        self._kit_root = self._root.with_name("kit")
        self._uv = installation.find_uv() if use_uv else None

    def ensure(self, spec: EnvironmentSpec, *, progress: Progress) -> Environment:
        """The environment for a spec; built now if it is missing or was interrupted.

        Args:
            progress: called with lines for people, while there is something to wait for.

        Raises:
            BuildFailed: a step failed; has the log's path and end.
        """
        fingerprint = spec.fingerprint()
        environment = Environment(fingerprint, self._root / fingerprint)
        if not _complete(environment):
            self._root.mkdir(parents=True, exist_ok=True)
            with self._building(fingerprint, progress):
                if not _complete(environment):
                    self._build(environment, spec, progress)
        kit_folder = kit.install(self._kit_root)
        kit.expose(kit_folder, installation.site_packages(environment.directory))
        return environment

    def prune(self, keep: Collection[str]) -> list[EnvironmentInfo]:
        """Remove environments whose fingerprint is not in `keep`; those that were removed.

        The caller knows which are in use. What an interrupted or failed build left goes too.
        """
        infos = {info.fingerprint: info for info in self.list()}
        unwanted = [path.name for path in self._root.glob("*/") if path.name not in keep]
        removed = [fingerprint for fingerprint in unwanted if self._remove(fingerprint)]
        return [infos[fingerprint] for fingerprint in removed if fingerprint in infos]

    def list(self) -> list[EnvironmentInfo]:
        """Complete environments, oldest first."""
        found = [_read(marker.parent) for marker in self._root.glob(f"*/{_MARKER}")]
        return sorted(found, key=lambda info: info.built_at)

    def log_path(self, fingerprint: str) -> Path:
        """Where the last build of an environment is written down."""
        return self._root / f"{fingerprint}.log"

    def _build(self, environment: Environment, spec: EnvironmentSpec, progress: Progress) -> None:
        started = time.monotonic()
        shutil.rmtree(environment.directory, ignore_errors=True)
        installation.make(
            environment.directory,
            spec,
            kit_folder=kit.install(self._kit_root),
            uv=self._uv,
            log_path=self.log_path(environment.fingerprint),
            progress=progress,
        )
        _mark(environment.directory, spec, build_seconds=time.monotonic() - started)

    def _remove(self, fingerprint: str) -> bool:
        """False when another process holds it, to build or to remove it."""
        directory = self._root / fingerprint
        try:
            with self._lock(fingerprint).acquire(timeout=0):
                # The marker first, so that what is half removed does not look whole.
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory, ignore_errors=True)
                self.log_path(fingerprint).unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    @contextmanager
    def _building(self, fingerprint: str, progress: Progress) -> Iterator[None]:
        lock = self._lock(fingerprint)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting: the same environment is being built for another model")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _lock(self, fingerprint: str) -> FileLock:
        return FileLock(self._root / f"{fingerprint}.lock")


def _complete(environment: Environment) -> bool:
    """Built to the end, and its interpreter, which is a link, has not gone away since."""
    return (environment.directory / _MARKER).is_file() and environment.python.exists()


def _mark(directory: Path, spec: EnvironmentSpec, *, build_seconds: float) -> None:
    content = {
        "python_version": spec.interpreter.version,
        "requirements": spec.requirements,
        "built_at": time.time(),
        "build_seconds": build_seconds,
        "size_bytes": _size(directory),
    }
    unfinished = directory / f"{_MARKER}.new"
    unfinished.write_text(json.dumps(content, indent=2), "utf-8")
    os.replace(unfinished, directory / _MARKER)


def _read(directory: Path) -> EnvironmentInfo:
    content = json.loads((directory / _MARKER).read_text("utf-8"))
    return EnvironmentInfo(
        fingerprint=directory.name,
        directory=directory,
        python_version=content["python_version"],
        requirements=tuple(content["requirements"]),
        built_at=datetime.fromtimestamp(content["built_at"], UTC),
        build_seconds=content["build_seconds"],
        size_bytes=content["size_bytes"],
    )


def _size(directory: Path) -> int:
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(directory)
        for name in names
    )
