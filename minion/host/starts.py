"""How many workers start at once on a machine, whichever hosts they belong to.

A start is imports and a load: work for a core, that many at once only slow each
other down. The slots are locks on files in a folder that the hosts of a machine
share; the kernel opens the lock of a host that has died. Called by the keeper.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

#: Whoever waits looks this often: a start takes a hundred times as long.
_LOOK_SECONDS = 0.02
#: Whoever takes longer waits for a disk or a device, and nobody else should wait for that.
HOLD_SECONDS = 30.0


class Slot:
    """The right to start one worker, until it is closed, or was held for long enough."""

    def __init__(self, descriptor: int | None, hold_seconds: float) -> None:
        self._descriptor = descriptor
        self._over = asyncio.get_running_loop().call_later(hold_seconds, self.close)

    def close(self) -> None:
        """Somebody else may start; can be called again."""
        self._over.cancel()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Starts:
    """Slots in a folder."""

    def __init__(
        self, folder: str | None, slots: int, *, hold_seconds: float = HOLD_SECONDS
    ) -> None:
        """
        Args:
            folder: where the locks are; None: there is no limit.
            slots: how many there are; to be the same for everybody who shares the folder.
            hold_seconds: after which a slot is free again, whatever became of the start.
        """
        self._hold_seconds = hold_seconds
        self._paths = [] if folder is None else [Path(folder, f"{n}.lock") for n in range(slots)]
        if folder is not None:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def slot(self) -> Slot:
        """Waits until there is one."""
        if not self._paths:
            return Slot(None, self._hold_seconds)
        while True:
            for path in self._paths:
                if (descriptor := _locked(path)) is not None:
                    return Slot(descriptor, self._hold_seconds)
            await asyncio.sleep(_LOOK_SECONDS)


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
