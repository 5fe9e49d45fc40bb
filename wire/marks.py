"""How what a worker has started is known when it has lost everybody who knew it.

Each worker has a temporary folder of its own, and the variable that names it is in the
environment of every program that it starts. Of a process that was forked and is the same
program still, the kernel shows the environment with which that program was started: for
workers of a template, and what they fork, the template's. Such a worker maps a page that
is called like the variable, and its forks inherit that. Left by workers, read by
supervisors; Linux shows it, elsewhere nothing is known.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
from pathlib import Path
from typing import Optional

_VARIABLE = "TMPDIR"
#: A worker's, as long as it lives.
_page: Optional[mmap.mmap] = None


class Kin(enum.Enum):
    """What a process is to workers whose folders are below a given one."""

    STRANGER = "none of theirs"
    WORKER = "one of them, from a template"
    STARTED = "started by one of them, or one of them that its host has started"


def leave_mark(folder: str) -> None:
    """From now on what this process forks is known as started by the worker of this folder.

    The page is never written, and takes no memory. A system that has no such thing, or
    refuses it, does not keep a worker from its work.
    """
    global _page
    with contextlib.suppress(AttributeError, OSError):
        # With its own number: it is to be told from its forks.
        descriptor = os.memfd_create(f"{_VARIABLE}={folder} {os.getpid()}")
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            _page = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)


def kin(pid: int, below: Path) -> Optional[Kin]:
    """What a process is to the workers whose folders are below this one.

    None: it cannot be told now. It is gone, dead, somebody else's, or becoming another program.
    """
    mark = os.fsencode(f"{_VARIABLE}={below}/")
    try:
        # In this order: who becomes another program in between has the page, or the variable.
        mappings = Path(f"/proc/{pid}/maps").read_bytes()
        variables = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    if not variables or not mappings:
        return None
    if any(variable.startswith(mark) for variable in variables.split(b"\0")):
        return Kin.STARTED
    pages = [line for line in mappings.splitlines() if b"/memfd:" + mark in line]
    if not pages:
        return Kin.STRANGER
    own = b" %d (deleted)" % pid
    return Kin.WORKER if any(page.endswith(own) for page in pages) else Kin.STARTED
