"""Published packages on disk, each in a folder named after its content.

A package is copied next to its final place, flushed, and renamed: a crash
leaves a folder that nobody refers to, never half of a version. Knows files
only; what a package must contain is the manifest's business.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from model_registry.errors import InvalidPackage

_INCOMING = "incoming-"
_ABANDONED_SECONDS = 24 * 3600  # no copy takes a day: what is older was left by a crash
_CHUNK_BYTES = 1 << 20


class ArtifactStore:
    """Packages under one folder. Safe to use from several processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Where the content with this digest lies, if it was added here."""
        return self._root / digest

    def digest(self, package: Path) -> str:
        """What `add` would return for the package as it is now; copies nothing.

        Raises:
            InvalidPackage: as `add` does.
        """
        digest = hashlib.sha256()
        for relative in _files(package):
            with (package / relative).open("rb") as reader:
                content = hashlib.file_digest(reader, "sha256").hexdigest()
            digest.update(_entry(relative, content))
        return digest.hexdigest()

    def add(self, package: Path) -> str:
        """Copy a package in and return its digest; content that is here already is not kept twice.

        The digest is SHA-256 over the sorted relative paths and the digests of the
        files' bytes. Compiled Python is left out, file modes do not count.

        Raises:
            InvalidPackage: a link that leads elsewhere, or something not a plain file.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._sweep()
        incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self._root))
        try:
            digest = _copy(package, incoming)
            incoming.chmod(0o755)  # mkdtemp made it private; workers may run as another user
            self._settle(incoming, self.path(digest))
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return digest

    def _settle(self, incoming: Path, final: Path) -> None:
        try:
            incoming.rename(final)
        except OSError:
            if not final.is_dir():  # not the case that another process was first
                raise
        _flush(self._root)

    def _sweep(self) -> None:
        for left in self._root.glob(f"{_INCOMING}*"):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _copy(package: Path, target: Path) -> str:
    digest = hashlib.sha256()
    for relative in _files(package):
        copied = target / relative
        copied.parent.mkdir(parents=True, exist_ok=True)
        content = _copy_file(package / relative, copied)
        digest.update(_entry(relative, content))
    for folder, _, _ in os.walk(target):
        _flush(Path(folder))
    return digest.hexdigest()


def _entry(relative: Path, content: str) -> bytes:
    """What one file adds to a package's digest."""
    return f"{relative.as_posix()}\0{content}\n".encode()


def _copy_file(source: Path, target: Path) -> str:
    """Copy one file, durably and read-only, and return the digest of the bytes written."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fchmod(writer.fileno(), 0o444)
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _files(package: Path) -> list[Path]:
    """Relative paths of what belongs to the package, sorted by their text with `/`."""
    found: list[Path] = []
    for folder, folders, files in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in folders:
            if Path(folder, name).is_symlink():
                _refuse(package, Path(folder, name), "is a link to a folder")
        for name in files:
            path = Path(folder, name)
            _check_file(package, path)
            found.append(path.relative_to(package))
    return sorted(found, key=Path.as_posix)


def _check_file(package: Path, path: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(package.resolve()):
        _refuse(package, path, "is a link that leaves the package")
    if not path.exists():
        _refuse(package, path, "is a link to nothing")
    if not stat.S_ISREG(path.stat().st_mode):
        _refuse(package, path, "is not a plain file")


def _refuse(package: Path, path: Path, why: str) -> None:
    raise InvalidPackage(
        f"{path.relative_to(package)} in {package} {why}; a package holds plain files, "
        "and links to files within it"
    )


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
