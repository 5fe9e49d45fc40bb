"""What the C++ compiler makes of compiled networks, kept for the next worker that wants it.

torch takes a file that is there for one that is whole, and writes it where it will be: a
worker that is killed meanwhile would spoil it for all that come. So each compiles in
its own temporary folder, in which it finds what others have kept, and keeps what it has
made when all of that has run. torch finds a kernel by its source; that it was made for
this very processor is left to the folder's name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

#: Lines of /proc/cpuinfo that say what a processor can, by architecture.
ABILITIES = ("flags", "Features")


class Kernels:
    """Those of this process, and those that its environment keeps."""

    def __init__(self) -> None:
        """From now on torch compiles here."""
        self._kept = Path(sys.prefix, "compiled", _processor())
        self._own = Path(tempfile.mkdtemp(prefix="compiled-"))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self._own)
        for kept in self._kept.glob("*/*.so"):
            if os.access(kept, os.R_OK):
                own = self._own / kept.relative_to(self._kept)
                own.parent.mkdir(exist_ok=True)
                own.symlink_to(kept)

    def keep(self) -> None:
        """Those that were made, and have been loaded, are there for others; here all are removed.

        Where the environment may not be written to, every worker compiles anew.
        """
        with contextlib.suppress(OSError):
            for made in self._own.glob("*/*.so"):
                if not made.is_symlink():
                    _publish(made, self._kept / made.relative_to(self._own))
        for folder in self._own.iterdir():
            shutil.rmtree(folder, ignore_errors=True)


def _publish(made: Path, kept: Path) -> None:
    """At once and whole, also where the machine loses its power."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent) as copy, made.open("rb") as source:
        shutil.copyfileobj(source, copy)
        copy.flush()
        shutil.copymode(made, copy.name)
        os.fsync(copy.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(copy.name, kept)


def _processor() -> str:
    """The same for processors that can do the same."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    able = next((line for line in lines if line.startswith(ABILITIES)), "")
    return hashlib.sha256(able.encode()).hexdigest()[:16]
