"""What hosts and templates that were killed could not end: done by their supervisor.

A host ends whatever its workers have started, and a template what forks of it have.
When it is killed itself, the supervisor adopts that. Whatever has its temporary
folder below this deployment's, by its environment or (a plain fork of a worker that
a template had forked) by its mappings, was started by one of its workers; nothing
else is touched. Called by the deployment, now and then.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from wire.lifetimes import children

#: Our own processes are waited for within milliseconds. Who is dead in so many looks has nobody.
_LOOKS = 3


class Orphans:
    """Those of one deployment."""

    def __init__(self, temporary: Path) -> None:
        """
        Args:
            temporary: below which all workers have their folders.
        """
        self._variable = b"TMPDIR=" + os.fsencode(temporary) + b"/"
        self._mapping = b"/memfd:" + self._variable
        self._dead: dict[int, int] = {}
        self._unmarked: set[int] = set()

    def end_adopted(self) -> int:
        """Ends those that this process has adopted by now, and waits for the dead; how many lived.

        Those that they have started come the next time. Who has no mark when it is seen first
        is one of our own, and is not looked at again.
        """
        adopted = children()
        self._wait_for_dead(pid for pid in adopted if _is_dead(pid))
        ended = self._end(adopted - self._unmarked)
        self._unmarked = adopted - ended
        return len(ended)

    def end_all(self) -> None:
        """Ends those that a supervisor has left that was killed."""
        self._end(int(name) for name in os.listdir("/proc") if name.isdigit())

    def _end(self, pids: Iterable[int]) -> set[int]:
        marked = {pid for pid in pids if self._is_marked(pid)}
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return marked

    def _is_marked(self, pid: int) -> bool:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return (
                any(variable.startswith(self._variable) for variable in variables)
                or self._mapping in Path(f"/proc/{pid}/maps").read_bytes()
            )
        except OSError:  # gone, or somebody else's
            return False

    def _wait_for_dead(self, dead: Iterable[int]) -> None:
        self._dead = {pid: self._dead.get(pid, 0) + 1 for pid in dead}
        for pid, looks in self._dead.items():
            if looks >= _LOOKS:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _is_dead(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
