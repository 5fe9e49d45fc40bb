"""The author's kit: what of ours a model's environment can import.

`wire`, `minion.model`, `minion.worker`, `minion.frameworks`, copied once into a
folder named after their content and found through a path file in each
environment: a new release of the platform repoints it, nothing is rebuilt. The
files run from Python 3.9 and need numpy and msgpack. Called by the builder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent.parent
_PARTS = ("wire", "minion/__init__.py", "minion/model.py", "minion/worker", "minion/frameworks")
_PATH_FILE = "demitasse-kit.pth"


def install(root: Path) -> Path:
    """The folder of the present kit below `root`, copied there if it is missing."""
    files = _files()
    folder = root / _digest(files)
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _copy(files, folder)
    return folder


def expose(kit: Path, site_packages: Path) -> None:
    """Make an environment find the kit here; what runs there keeps what it has imported."""
    path_file = site_packages / _PATH_FILE
    wanted = f"{kit}\n"
    if path_file.is_file() and path_file.read_text("utf-8") == wanted:
        return
    descriptor, name = tempfile.mkstemp(dir=site_packages)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(wanted)
    os.chmod(name, 0o644)
    os.replace(name, path_file)


def _files() -> dict[str, bytes]:
    """Relative path -> content."""
    found: dict[str, bytes] = {}
    for part in _PARTS:
        path = _SOURCES / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            found[file.relative_to(_SOURCES).as_posix()] = file.read_bytes()
    return found


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:20]


def _copy(files: dict[str, bytes], folder: Path) -> None:
    incoming = Path(tempfile.mkdtemp(prefix="incoming-", dir=folder.parent))
    try:
        for name, content in files.items():
            path = incoming / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        incoming.chmod(0o755)  # mkdtemp made it private; workers may run as another user
        incoming.rename(folder)
    except OSError:
        if not folder.is_dir():  # not the case that another process was first
            raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
