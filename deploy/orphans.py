"""What hosts and templates that were killed could not end: done by their supervisor.

A host ends whatever its workers have started, and a template what forks of it have.
When it is killed itself, the supervisor adopts that. Whatever was started by a worker
of this deployment (`wire.marks`) is ended; nothing else is touched. Called by the
deployment, now and then.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from wire.lifetimes import children, has_dead_child
from wire.marks import Kin, kin

#: Our own processes are waited for within milliseconds. Who is dead in so many looks has nobody.
_LOOKS = 3


class Orphans:
    """Those of one deployment."""

    def __init__(self, temporary: Path) -> None:
        """
        Args:
            temporary: below which all workers have their folders.
        """
        self._temporary = temporary
        self._dead: dict[int, int] = {}
        self._others: set[int] = set()

    def end_adopted(self) -> int:
        """Ends those that this process has adopted by now, and waits for the dead; how many lived.

        Those that they have started come the next time. Workers whose template has ended are
        adopted, too: they are their hosts', and go on.
        """
        adopted = children()
        self._wait_for_dead(filter(_is_dead, adopted) if has_dead_child() else ())
        known = {pid: kin(pid, self._temporary) for pid in adopted - self._others}
        # What they are they stay; a look at large ones takes milliseconds.
        others = {pid for pid, its in known.items() if its in (Kin.STRANGER, Kin.WORKER)}
        self._others = self._others & adopted | others
        started = [pid for pid, its in known.items() if its is Kin.STARTED]
        _kill(started)
        return len(started)

    def end_all(self) -> None:
        """Ends those that a supervisor has left that was killed, and any worker among them."""
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        _kill(pid for pid in pids if kin(pid, self._temporary) in (Kin.STARTED, Kin.WORKER))

    def _wait_for_dead(self, dead: Iterable[int]) -> None:
        self._dead = {pid: self._dead.get(pid, 0) + 1 for pid in dead}
        for pid, looks in self._dead.items():
            if looks >= _LOOKS:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _is_dead(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
