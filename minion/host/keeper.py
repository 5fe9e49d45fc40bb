"""Keeps the workers of one host alive.

A `Keeper` has so many places and puts a new worker into a place whose worker
ended, with growing delays. Where that is of no use (`restarts.Budget`), the lane
has failed: one place tries now and then, and the others begin again when a worker
has loaded there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from minion.host.restarts import Budget, RestartDelay
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
        self._budget = Budget(spec.workers)
        self._answered = 0  # batches, by workers that have ended
        self._loaded = asyncio.Event()
        self._trying: int | None = None  # the place that tries for all, while the lane has failed
        self._next_try = 0.0
        self.restarts = 0
        self.last_failure: str | None = None
        self.last_lines: Sequence[str] = ()
        """What the worker printed that ended last."""

    @property
    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    @property
    def failed(self) -> bool:
        """Whether workers end as often as they are started, and none is there."""
        return self._budget.spent and not self.ready()

    @property
    def seconds_until_try(self) -> float:
        """How long until another worker is started, where the lane has failed."""
        return max(self._next_try - asyncio.get_running_loop().time(), 0.0)

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
            worker = self._workers[place] = Worker(
                self._spec, place, self._on_room, self._on_loaded
            )
            await self._live(worker)
            self._count(worker)
            self._on_end(worker)
            # Of an example that is suspected already the next one knows no more.
            seconds = delay.after(proved=worker.proved or worker.met_suspects)
            if self.failed:
                await self._until_hope(place)
            else:
                await asyncio.sleep(seconds)

    async def _live(self, worker: Worker) -> None:
        try:
            await worker.live()
        except OSError as error:
            worker.failure = f"cannot be started: {error.strerror}"
        self.last_failure, self.last_lines = worker.failure, worker.last_lines
        log.warning("worker %s ended: %s", worker.pid, worker.failure)

    def _count(self, worker: Worker) -> None:
        self.restarts += 1
        self._answered += worker.answered
        if worker.met_suspects:
            return
        answered = self._answered + sum(
            each.answered for each in self._workers.values() if each is not worker
        )
        self._budget.ended(asyncio.get_running_loop().time(), answered=answered)

    async def _until_hope(self, place: int) -> None:
        """Until this place is to try whether a worker stays, or another one's has loaded."""
        if self._trying is None:
            log.error("its workers end as often as they are started; one is tried now and then")
            self._loaded.clear()
            self._trying = place
        if self._trying != place:
            await self._loaded.wait()
            return
        self._next_try = asyncio.get_running_loop().time() + self._spec.retry_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._spec.retry_seconds):
                await self._loaded.wait()

    def _on_loaded(self) -> None:
        self._trying = None
        self._loaded.set()
