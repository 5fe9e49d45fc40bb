"""Where a deployment keeps what it needs while it runs: its own alone, as long as it does."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deploy.machine import DeploymentError, socket_folder
from deploy.orphans import Orphans
from deploy.status import LOCK_FILE, run_folder
from minion.host.temporary import remove_folder

#: Whoever reads the status holds the lock for an instant, to see whether somebody else does.
LOCK_SECONDS = 0.5


class Premises:
    """Folders, sockets and logs of one home."""

    def __init__(self, home: Path) -> None:
        self.run_folder = run_folder(home)
        self.sockets = socket_folder(self.run_folder)
        self._home = home
        self._temporary = self.sockets / "t"
        self.orphans = Orphans(self._temporary)
        """What was started by workers of this deployment, and has lost whoever would end it."""

    def socket_path(self, name: str) -> Path:
        # The path must fit into sockaddr_un, whatever the model is called.
        return self.sockets / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.sock"

    def temporary_path(self, name: str) -> Path:
        """A folder for what workers need for a while; the path is short: models make sockets."""
        return self._temporary / hashlib.sha256(name.encode()).hexdigest()[:8]

    def log_path(self, id: str) -> Path:
        folder = self._home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{id}.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The home is ours. What a supervisor that was killed left behind is cleared away.

        Raises:
            DeploymentError: it is somebody else's.
        """
        lock = FileLock(self.run_folder / LOCK_FILE, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise DeploymentError(
                f"{self._home} is in use by another `demitasse up`; "
                "stop that one, or choose another --home"
            ) from None
        try:
            self._clear()
            yield
        finally:
            self._clear()
            if self.sockets != self.run_folder:
                with contextlib.suppress(OSError):
                    self.sockets.rmdir()
            lock.release()

    def _clear(self) -> None:
        for left in (*self.sockets.glob("*.sock"), *self.run_folder.glob("*.json")):
            left.unlink()
        self.orphans.end_all()
        remove_folder(self._temporary)
