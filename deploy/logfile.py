"""The file that a process writes its log into, and what keeps it from growing without end.

Knows files alone. Called by `child`, whose processes write there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

#: What is longer is put aside as `.1`, in place of what was there before.
MAX_LOG_BYTES = 16 * 2**20


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[int]:
    """A descriptor for a process that is about to start; it goes on where the log ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_long(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size > MAX_LOG_BYTES
    return False


def put_aside(path: Path) -> None:
    """Begins a log anew into which a process is writing.

    By copying, since the process goes on to write into the same file. What it writes
    between the copy and the new beginning is lost: a line or two.
    """
    shutil.copyfile(path, _aside(path))
    os.truncate(path, 0)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".1")
