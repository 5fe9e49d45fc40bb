"""Keeps the workers of one host alive.

A `Keeper` has so many places and puts a new worker into a place whose worker
ended, with growing delays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from minion.host.restarts import RestartDelay
from minion.host.spec import ServiceSpec
from minion.host.workers import State, Worker

log = logging.getLogger("demitasse.host.keeper")


class Keeper:
    """So many places, each with a worker, as long as the host runs."""

    def __init__(
        self,
        spec: ServiceSpec,
        on_room: Callable[[], None],
        on_end: Callable[[Worker], None],
    ) -> None:
        self._spec = spec
        self._on_room = on_room
        self._on_end = on_end
        self._workers: dict[int, Worker] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.restarts = 0
        self.last_failure: str | None = None

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    def ready(self) -> int:
        """How many workers could run a batch, now or after the one they run."""
        return sum(worker.state in (State.IDLE, State.BUSY) for worker in self._workers.values())

    def idle(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.state is State.IDLE]

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(place)) for place in range(self._spec.workers)]

    async def stop(self) -> None:
        """Ends every worker and waits for that. What they were running is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, place: int) -> None:
        delay = RestartDelay()
        while True:
            worker = self._workers[place] = Worker(self._spec, place, self._on_room)
            await self._live(worker)
            self.restarts += 1
            self._on_end(worker)
            await asyncio.sleep(delay.after(proved=worker.proved))

    async def _live(self, worker: Worker) -> None:
        try:
            await worker.live()
        except OSError as error:
            worker.failure = f"cannot be started: {error.strerror}"
        self.last_failure = worker.failure
        log.warning("worker %s ended: %s", worker.pid, worker.failure)
