"""How many workers start at once on a machine, whichever hosts they belong to.

A start is imports and a load: work for a core, that many at once only slow each
other down. The slots are locks on files in a folder that the hosts of a machine
share; the kernel opens the lock of a host that has died. Called by the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

#: Whoever waits looks this often: a start takes a hundred times as long.
_LOOK_SECONDS = 0.02


class Slot:
    """The right to start one worker, until it is closed."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Somebody else may start; can be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Starts:
    """Slots in a folder."""

    def __init__(self, folder: str | None, slots: int) -> None:
        """
        Args:
            folder: where the locks are; None: there is no limit.
            slots: how many there are; to be the same for everybody who shares the folder.
        """
        self._paths = [] if folder is None else [Path(folder, f"{n}.lock") for n in range(slots)]
        if folder is not None:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def slot(self) -> Slot:
        """Waits until there is one."""
        if not self._paths:
            return Slot(None)
        while True:
            for path in self._paths:
                if (descriptor := _locked(path)) is not None:
                    return Slot(descriptor)
            await asyncio.sleep(_LOOK_SECONDS)


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
