"""The folder of a worker for what it needs for a while: its own, bounded, gone with it.

Knows folders alone; waits for the disk, so threads call it. Called by `workers`,
the keeper, and the supervisor, which removes what killed hosts have left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Files cost the disk something, too, when they are empty.
FILE_BYTES = 4096


def make_folder(parent: str | None) -> str:
    return tempfile.mkdtemp(prefix="w-", dir=parent)


def remove_folder(path: str | Path) -> None:
    """With all that is in it, whatever its author has made of the permissions."""
    with contextlib.suppress(OSError):
        os.rmdir(path)  # most of them are empty
        return
    with contextlib.suppress(OSError):
        if not os.path.islink(path):
            os.chmod(path, 0o700)
    for folder, names, _ in os.walk(path):
        for each in (Path(folder, name) for name in names):
            with contextlib.suppress(OSError):
                if not each.is_symlink():
                    each.chmod(0o700)  # before it is walked into
    shutil.rmtree(path, ignore_errors=True)


def clear(path: Path) -> None:
    """The folder is there, and empty."""
    remove_folder(path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def is_empty(path: str) -> bool:
    """Whether nothing is in it. Takes no longer where much is, so that a loop may ask."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return next(entries, None) is None
    return False


def is_over(path: str, limit_bytes: int) -> bool:
    """Whether the files in a folder take more than that. Stops looking when they do."""
    total = 0
    for size in _sizes(path):
        total += size
        if total > limit_bytes:
            return True
    return False


def _sizes(path: str) -> Iterator[int]:
    folders = [path]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it has gone again
                    found = entry.stat(follow_symlinks=False)
                    yield FILE_BYTES + found.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
