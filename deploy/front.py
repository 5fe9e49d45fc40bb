"""One coordinator process as its supervisor sees it: kept running, and what is known of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from deploy.child import Child


class Front:
    """A coordinator, started again whenever it ends."""

    def __init__(
        self,
        *,
        log: Path,
        environment: Mapping[str, str],
        siblings: Path | None,
        only: Sequence[str],
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            siblings: a folder for the sockets of those that share its ports, if there are any.
            only: references to what is served; empty: all that the registry says is.
        """
        self.state = "starting"
        self.detail = ""
        self._changed = changed
        self._metrics = environment.get("PROMETHEUS_MULTIPROC_DIR")
        self._last_pid = 0
        self._child = Child(
            lambda starts: [
                *(sys.executable, "-P", "-m", "coordinator"),
                *("--parent-pid", str(os.getpid())),
                *(("--siblings", str(siblings)) if siblings is not None else ()),
                *(f"--only={reference}" for reference in only),
            ],
            log=log,
            environment=environment,
            on_start=self._started,
            on_end=self._ended,
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def keep(self) -> None:
        await self._child.keep()

    async def stop(self, grace_seconds: float) -> None:
        self._set_state("draining")
        await self._child.stop(grace_seconds + 1.0)

    def kill(self) -> None:
        self._child.kill()

    def _started(self, starts: int, pid: int) -> None:
        self._last_pid = pid
        self._set_state("running")

    def _ended(self, ending: str) -> None:
        if self._metrics is not None:  # what it held is held no more; what it counted stays
            mark_process_dead(self._last_pid, self._metrics)  # type: ignore[no-untyped-call]
        self._set_state("restarting", ending)

    def _set_state(self, state: str, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self._changed()
