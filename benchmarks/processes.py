"""A server and all that it starts: what they burn, what they hold, how they end.

The server becomes the reaper of its orphans, so that what it starts as a
daemon stays in its tree. Linux only. Called by whoever starts servers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_STOP_SECONDS = 20.0
#: For what a server leaves behind, once it has gone itself.
_TIDY_SECONDS = 5.0


class _Process(NamedTuple):
    pid: int
    parent: int
    born: int
    state: str
    """`Z`: it has ended, and nobody has waited for it."""
    ticks: int
    """Its own, and those of its children that were waited for."""


def stolen_seconds() -> float:
    """Of all cores, since the machine began: what its hypervisor gave to others. See proc(5)."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / _TICKS


class Tree:
    """One server's processes.

    Args:
        log: takes what they print.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, variables: Mapping[str, str], folder: Path
    ) -> None:
        with log.open("wb") as output:
            self._root = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                cwd=folder,
                preexec_fn=_reap_and_die_with_us,
            )

    def is_alive(self) -> bool:
        return self._root.poll() is None

    def cpu_seconds(self, *, only: Collection[int] | None = None) -> float:
        """User and system time of all of them, or of these pids, since they began."""
        counted = [each for each in self._processes() if only is None or each.pid in only]
        return sum(each.ticks for each in counted) / _TICKS

    def memory_bytes(self) -> int:
        """Proportional set size: what is shared counts once."""
        return sum(_pss(each.pid) for each in self._processes())

    def pids(self) -> set[int]:
        """Of all of them, dead ones that nobody has waited for among them."""
        return {each.pid for each in self._processes()}

    def stop(self) -> None:
        """Ask the server to end, then end whatever is left."""
        before = self._processes()
        self._root.send_signal(signal.SIGTERM)
        try:
            self._root.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            before = self._processes()
        # Asked, and given the time: they have semaphores and shared memory to take away, and
        # Python's resource tracker does so when all others have gone.
        end = time.monotonic() + _TIDY_SECONDS
        _send(signal.SIGTERM, _alive(before))
        while _alive(before) and time.monotonic() < end:
            time.sleep(0.01)
        _send(signal.SIGKILL, _alive(before))
        self._root.wait()

    def _processes(self) -> list[_Process]:
        children: dict[int, list[_Process]] = {}
        everybody = _all_processes()
        for each in everybody:
            children.setdefault(each.parent, []).append(each)
        found = [each for each in everybody if each.pid == self._root.pid]
        for each in found:  # grows while it is walked
            found += children.get(each.pid, [])
        return found


def _alive(known: Sequence[_Process]) -> list[_Process]:
    """Those that still run; neither the dead whom nobody has waited for, nor others by now."""
    running = {(each.pid, each.born) for each in _all_processes() if each.state != "Z"}
    return [each for each in known if (each.pid, each.born) in running]


def _send(number: signal.Signals, processes: Sequence[_Process]) -> None:
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, number)


def _reap_and_die_with_us() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _all_processes() -> list[_Process]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has gone meanwhile
                continue
            state, parent, *numbers = fields
            ticks = sum(map(int, numbers[9:13]))
            found.append(_Process(int(entry.name), int(parent), int(numbers[17]), state, ticks))
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def shared_memory() -> set[str]:
    """What of it has a name, of whomever."""
    return set(os.listdir("/dev/shm"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
