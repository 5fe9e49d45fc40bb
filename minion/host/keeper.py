"""Keeps the workers of one host alive, and within their limits.

A `Keeper` has so many places and puts a new worker into a place whose worker
ended, with growing delays. Where that is of no use (`restarts.Budget`), the lane
has failed: one place tries now and then, and the others begin again when a worker
has loaded there. A worker that is worn, by what it has answered or what it holds,
goes on until its successor has loaded. Spares have loaded in advance, and get no batch
until a place's worker has ended: then one of them takes the place at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from minion.host.children import Children
from minion.host.limits import held_bytes, soft_limit
from minion.host.poison import Loss
from minion.host.restarts import FIRST_DELAY_SECONDS, Budget, RestartDelay
from minion.host.spec import ServiceSpec
from minion.host.starts import Slot, Starts
from minion.host.temporary import is_empty, is_over
from minion.host.workers import State, Worker

log = logging.getLogger("demitasse.host.keeper")

#: How often somebody looks what workers hold; and while one has something to do.
WATCH_SECONDS, BUSY_WATCH_SECONDS = 1.0, 0.25
#: After which to ask again who was asked while the model loads.
LOADING_SECONDS = 1.0
#: Who of those without a place takes one: who works already, since it is to replace somebody;
#: who could; who will.
_PRECEDENCE = [State.BUSY, State.IDLE, State.SPARE, State.STARTING, State.ENDED]


class _Life(NamedTuple):
    worker: Worker
    task: asyncio.Task[None]
    taken: asyncio.Event
    """It has a place."""


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
        self.children = Children()
        self._places: dict[int, _Life] = {}
        self._successors: list[_Life] = []  # of whom no place knows yet
        self.workers: list[Worker] = []
        """Of all places, ended ones until another takes their place, and successors."""
        self._tasks: list[asyncio.Task[None]] = []
        self._starts = Starts(spec.starts_folder, spec.starts)
        self._starting: dict[Worker, Slot] = {}
        self._worn: asyncio.Queue[Worker] = asyncio.Queue()
        self._busy = asyncio.Event()  # a worker that may take more
        self._budget = Budget(spec.workers)
        self._answered = 0  # batches, by workers that have ended
        self._loaded = asyncio.Event()
        self._one_loaded = asyncio.Event()
        self._trying: int | None = None  # the place that tries for all, while the lane has failed
        self._next_try = 0.0
        self.restarts = 0
        """Workers that ended, and were not meant to."""
        self.replaced = 0
        """Workers that ended since their successor had loaded."""
        self.last_failure: str | None = None
        self.last_lines: Sequence[str] = ()
        """What the worker printed that ended last."""

    @property
    def failed(self) -> bool:
        """Whether workers end as often as they are started, and none is there."""
        return self._budget.spent and not self.ready()

    @property
    def next_try(self) -> float | None:
        """When another worker is started, where the lane has failed, in seconds of the loop's
        clock. Lies in the past while that one loads."""
        return self._next_try if self.failed else None

    @property
    def seconds_until_try(self) -> float | None:
        """How long until then, where the lane has failed; never less than a load may take."""
        if not self.failed:
            return None
        return max(self._next_try - asyncio.get_running_loop().time(), LOADING_SECONDS)

    def ready(self) -> int:
        """How many workers could run a batch, now or after the one they run."""
        return sum(worker.state in (State.IDLE, State.BUSY) for worker in self.workers)

    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.state is State.IDLE]

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(place)) for place in range(self._spec.workers)]
        self._tasks += [loop.create_task(self._keep_spare()) for _ in range(self._spec.spares)]
        self._tasks += [loop.create_task(self._replace()), loop.create_task(self._watch())]

    async def stop(self) -> None:
        """Ends every worker and waits for that. What they were running is lost."""
        tasks = [*self._tasks, *(life.task for life in self._successors)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.children.end_orphans()

    # The places.

    async def _keep(self, place: int) -> None:
        delay = RestartDelay()
        while True:
            life = self._places[place] = self._successor() or self._begin()
            self._know()
            worker = life.worker
            worker.enter()
            await life.task
            # Of an example that was suspected before, the next worker knows no more.
            seconds = (
                FIRST_DELAY_SECONDS if worker.met_suspects else delay.after(proved=worker.proved)
            )
            if self.failed:
                await self._until_hope(place)
            elif not self._successors:
                await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        """So long before another start, unless a spare has loaded by then: it need not wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not any(life.worker.loaded for life in self._successors):
                    self._one_loaded.clear()
                    await self._one_loaded.wait()

    def _begin(self) -> _Life:
        worker = Worker(
            *(self._spec, self.children, self._on_room, self._on_loaded),
            *(self._worn.put_nowait, self._busy.set),
        )
        task = asyncio.get_running_loop().create_task(self._live(worker))
        return _Life(worker, task, asyncio.Event())

    def _successor(self) -> _Life | None:
        if not self._successors:
            return None
        life = min(self._successors, key=lambda each: _PRECEDENCE.index(each.worker.state))
        self._successors.remove(life)
        life.taken.set()
        return life

    def _know(self) -> None:
        self.workers = [life.worker for life in (*self._places.values(), *self._successors)]

    async def _live(self, worker: Worker) -> None:
        try:
            with contextlib.closing(await self._starts.slot()) as slot:
                self._starting[worker] = slot
                await worker.live()
        except OSError as error:
            worker.end(f"cannot be started: {error.strerror}")
        except Exception:  # or its place would be empty for good
            log.exception("worker %s could not be looked after", worker.pid)
            worker.end("could not be looked after")
        finally:
            self._starting.pop(worker, None)
        self._answered += worker.answered
        if worker.retired:
            self.replaced += 1
            log.info("worker %s was replaced", worker.pid)
        else:
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        self.restarts += 1
        self.last_failure, self.last_lines = worker.failure, worker.last_lines
        log.warning("worker %s ended: %s", worker.pid, worker.failure)
        if not worker.met_suspects:
            answered = self._answered + sum(
                each.answered for each in self.workers if each.state is not State.ENDED
            )
            self._budget.ended(
                asyncio.get_running_loop().time(),
                answered=answered,
                start_seconds=worker.start_seconds,
            )
        if self.failed:
            self._plan_try()  # before anybody is told
        self._on_end(worker)

    def _plan_try(self) -> None:
        """Some time after this one, unless one is planned already."""
        now = asyncio.get_running_loop().time()
        if self._next_try <= now:
            self._next_try = now + self._spec.retry_seconds

    async def _until_hope(self, place: int) -> None:
        """Until this place is to try whether a worker stays, or another one's has loaded."""
        if self._trying is None:
            log.error("its workers end as often as they are started; one is tried now and then")
            self._loaded.clear()
            self._trying = place
        if self._trying != place:
            await self._loaded.wait()
            return
        self._plan_try()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_try):
                await self._loaded.wait()

    def _on_loaded(self, worker: Worker) -> None:
        self._starting.pop(worker).close()
        self._trying = None
        self._next_try = 0.0
        self._loaded.set()
        self._one_loaded.set()

    # Spares and successors.

    async def _keep_spare(self) -> None:
        """One worker more than there are places; when a place has taken it, another one."""
        delay = RestartDelay()
        while True:
            life = self._begin()
            self._successors.append(life)
            self._know()
            taken = asyncio.ensure_future(life.taken.wait())
            try:
                await asyncio.wait([taken, life.task], return_when=asyncio.FIRST_COMPLETED)
            finally:
                taken.cancel()
            if life in self._successors:  # it has ended
                self._successors.remove(life)
                self._know()
                await asyncio.sleep(delay.after(proved=life.worker.proved))
            if self.failed:
                await self._loaded.wait()

    async def _replace(self) -> None:
        """One worker after another: two of each would need twice the memory."""
        patience = RestartDelay()
        while True:
            worn = await self._worn.get()
            if not worn.soon_full:
                patience = RestartDelay()
            else:
                seconds = patience.after(proved=False)
                log.warning(
                    "worker %s held most of its memory soon after loading; "
                    "its successor is started in %g s",
                    worn.pid,
                    seconds,
                )
                await asyncio.sleep(seconds)
            delay = RestartDelay()
            while worn in self.workers and worn.state is not State.ENDED and not worn.retired:
                if not await self._replaced(worn):
                    await asyncio.sleep(delay.after(proved=False))

    async def _replaced(self, worn: Worker) -> bool:
        """Whether a successor has loaded; the two change places then, and no batch waits."""
        life = self._begin()
        self._successors.append(life)
        self._know()
        await life.worker.settled.wait()
        if life not in self._successors:
            return False  # a place whose worker ended has taken it
        if life.worker.loaded is None:
            self._successors.remove(life)
            self._know()
            return False
        life.worker.enter()
        worn.retire()
        return True

    # What they hold.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(BUSY_WATCH_SECONDS)
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: whoever is cancelled as the event is set would never hear of it.
                async with asyncio.timeout(WATCH_SECONDS - BUSY_WATCH_SECONDS):
                    await self._busy.wait()
            self._busy.clear()
            try:
                self.children.reap()
                for worker in self.workers:
                    await self._look_at(worker)
            except OSError:  # descriptors may be short for a while
                log.exception("what workers hold could not be looked at")

    async def _look_at(self, worker: Worker) -> None:
        if worker.pid is None or worker.state is State.ENDED:
            return
        limit = self._spec.temporary_bytes
        # A thread costs more than all the rest, and there is mostly nothing to look through.
        if not is_empty(worker.temporary) and await asyncio.to_thread(
            is_over, worker.temporary, limit
        ):
            loss = Loss.EXCEEDED if worker.wrote else Loss.INTERRUPTED
            worker.end(f"its temporary folder has more than {limit} bytes", loss)
        memory = self._spec.memory_bytes
        if memory is None or worker.state is State.STARTING:
            return
        held = held_bytes(worker.pid, self._spec)
        if held > memory:
            worker.end(f"holds {held} bytes, and may hold {memory}")
        elif worker.state is not State.SPARE and held > soft_limit(
            memory, loaded_bytes=worker.loaded_bytes
        ):
            worker.wear(full=True)
