"""What runs on this machine, written down for other commands to read.

The supervisor writes the file whenever something changed; whether it is still
true shows in the lock that the supervisor holds as long as it lives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

LOCK_FILE = "up.lock"
STATUS_FILE = "status.json"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process. `state` is one of those in docs/operating.md."""

    role: str
    """supervisor, coordinator, decoder, minion or worker."""
    model: str | None
    version: str | None
    pid: int | None
    address: str | None
    state: str
    detail: str
    last_lines: list[str] = field(default_factory=list)
    """What a worker printed before it ended, where none stays."""


@dataclass(frozen=True, slots=True)
class Status:
    running: bool
    url: str | None
    admin_url: str | None
    processes: list[ProcessInfo]


NOTHING = Status(False, None, None, [])


def run_folder(home: Path) -> Path:
    """Where sockets, specs and the status of a running deployment lie; nobody else may look."""
    folder = home / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_status(home: Path, status: Status) -> None:
    folder = run_folder(home)
    temporary = folder / f"{STATUS_FILE}.new"
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.replace(folder / STATUS_FILE)


def forget_status(home: Path) -> None:
    (home / "run" / STATUS_FILE).unlink(missing_ok=True)


def read_status(home: Path) -> Status:
    """What the supervisor of this home last wrote; `NOTHING` when none is alive."""
    folder = home / "run"
    try:
        written = (folder / STATUS_FILE).read_bytes()
    except FileNotFoundError:
        return NOTHING
    return msgspec.json.decode(written, type=Status) if _held(folder / LOCK_FILE) else NOTHING


def interpreters_in_use(home: Path) -> list[Path]:
    """Those of the hosts that a running supervisor has started; none when none is alive."""
    folder = home / "run"
    if not read_status(home).running:
        return []
    specs = [path for path in folder.glob("*.json") if path.name != STATUS_FILE]
    return [Path(msgspec.json.decode(path.read_bytes(), type=_Started).python) for path in specs]


class _Started(msgspec.Struct):
    """Of a host's spec, what concerns us: another release may have written it."""

    python: str


def _held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
