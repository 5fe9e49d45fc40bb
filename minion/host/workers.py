"""Keeps the workers of one host alive, and hands them batches.

A `Worker` is one process, from exec to its end; a `Keeper` has so many places
and puts a new worker into a place whose worker ended, with growing delays. The
lane sees workers only through `on_idle`, `run` and the callbacks of a batch:
done, failed as a whole, or lost with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from minion.host.arena import Arena
from minion.host.restarts import RestartDelay, describe_ending, is_stable
from minion.host.spec import ServiceSpec
from wire.errors import WireError
from wire.frames import FrameReader
from wire.messages import BatchFailure, BatchResult, Load, Loaded, Run, TensorRef, decode
from wire.tensor import Tensor, byte_size

log = logging.getLogger("demitasse.host.workers")


class State(enum.Enum):
    """STARTING -> IDLE <-> BUSY, and from each of them -> ENDED."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDED = "ended"


class RunningBatch(Protocol):
    """A batch as the lane knows it. One of the callbacks is called, once."""

    @property
    def inputs(self) -> Sequence[Mapping[str, Tensor]]:
        """Per example, by name; dtypes and shapes equal across examples."""

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]: ...

    def done(self, result: BatchResult, worker: Worker) -> None:
        """Raises WireError, and has then answered nobody, if the result does not fit the batch."""

    def failed(self, failure: BatchFailure) -> None: ...

    def lost(self, *, timed_out: bool) -> None: ...


class Worker(asyncio.Protocol):
    """One worker process and the host's end of its socket pair."""

    def __init__(self, spec: ServiceSpec, place: int, on_idle: Callable[[], None]) -> None:
        self.place = place
        self.state = State.STARTING
        self.loaded: Loaded | None = None
        self.failure: str | None = None
        self._loaded_at = math.inf
        self._answered = False
        self._spec = spec
        self._on_idle = on_idle
        self._arena: Arena
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._batch: RunningBatch | None = None
        self._batches = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def proved(self) -> bool:
        """It answered a batch, or stayed for a while. To have loaded alone says little."""
        loaded_for = asyncio.get_running_loop().time() - self._loaded_at
        return self._answered or is_stable(loaded_for)

    async def live(self) -> None:
        """Starts the process and returns when it has ended, and is reaped.

        Raises:
            OSError: it cannot be started; nothing is left of the attempt.
        """
        with contextlib.closing(Arena()) as self._arena:
            try:
                process = await self._start()
                status = await process.wait()
                self.failure = self.failure or describe_ending(status)
            finally:
                self._end()
                if self._process is not None:
                    await self._process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # Not cancelled half-way: a process that nobody knows of could not be ended.
                spawning = asyncio.ensure_future(self._spawn(theirs))
                try:
                    await asyncio.shield(spawning)
                finally:
                    process = self._process = await spawning
            ours.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
        self._limit(self._spec.load_timeout_seconds)
        self._send(self._load())
        return process

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self._spec.python,
            "-I",
            "-u",
            "-m",
            "minion.worker",
            "--socket",
            str(theirs.fileno()),
            "--arena",
            str(self._arena.descriptor),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), self._arena.descriptor),
            env=_environment(self._spec.threads),
            start_new_session=True,
        )

    def _load(self) -> Load:
        spec = self._spec
        return Load(
            directory=spec.directory,
            entry=spec.entry,
            device=spec.device,
            threads=spec.threads,
            max_batch_size=spec.max_batch_size,
            options=spec.options,
            inputs={name: (each.dtype, each.shape) for name, each in spec.inputs.items()},
            arena_bytes=self._arena.size_bytes,
        )

    def run(self, batch: RunningBatch) -> None:
        """Hands the batch to the process. The worker must be idle."""
        assert self.state is State.IDLE
        self.state = State.BUSY
        self._batch = batch
        self._batches += 1
        self._limit(self._spec.predict_timeout_seconds)
        parameters = batch.parameters if any(batch.parameters) else ()
        size = len(batch.inputs)
        self._send(Run(self._batches, size, self._stack(batch.inputs), parameters))

    def _stack(self, examples: Sequence[Mapping[str, Tensor]]) -> dict[str, TensorRef]:
        area = self._arena.inputs
        area.reset()
        refs = {}
        for name in examples[0]:
            ref = area.stack([example[name] for example in examples])
            assert ref is not None, "the batch policy keeps batches below the arena's size"
            refs[name] = ref
        return refs

    def tensor(self, ref: TensorRef, result: BatchResult) -> Tensor:
        """A copy of one output of the batch that just ended.

        Raises:
            WireError: it lies outside the arena or the frame.
        """
        if not ref.inline:
            return self._arena.outputs.bytes_at(ref)
        end = ref.offset + byte_size(ref.dtype, ref.shape)
        return Tensor.checked(ref.dtype, ref.shape, result.body[0][ref.offset : end])

    def kill(self) -> None:
        """Ends the process and whatever it started.

        With SIGKILL: a process that is stopped, or busy in C, hears nothing else.
        """
        # Also when the leader is gone already: its children are not. Once ended, the
        # number may be somebody else's.
        if self._process is not None and self.state is not State.ENDED:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._received(decode(frame))
        except WireError as error:
            self.failure = f"broke the protocol: {error}"
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        # End-of-file comes before the exit status: the batch need not wait for that.
        self._end()

    def _received(self, message: object) -> None:
        self._stop_timer()
        if isinstance(message, BatchResult):
            self._done(message)
            self._become_idle()
        elif isinstance(message, BatchFailure) and self.state is State.STARTING:
            self.failure = message.detail
        elif isinstance(message, BatchFailure):
            self._finish(message.id).failed(message)
            self._become_idle()
        elif isinstance(message, Loaded) and self.state is State.STARTING:
            self.loaded, self._loaded_at = message, asyncio.get_running_loop().time()
            self._become_idle()
        else:
            raise WireError(f"{type(message).__name__} while {self.state.value}")

    def _done(self, result: BatchResult) -> None:
        batch = self._finish(result.id)
        try:
            batch.done(result, self)
        except WireError:
            batch.lost(timed_out=False)
            raise
        self._answered = True

    def _finish(self, id: int) -> RunningBatch:
        batch = self._batch
        if batch is None or id != self._batches:
            raise WireError(f"an answer to batch {id}, which is not running")
        self._batch = None
        return batch

    def _become_idle(self) -> None:
        self.state = State.IDLE
        self._on_idle()

    def _end(self) -> None:
        if self.state is State.ENDED:
            return
        self._stop_timer()
        self.kill()
        self.state = State.ENDED
        if self._transport is not None:
            self._transport.close()
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.lost(timed_out=self._timed_out)

    def _limit(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._overrun)

    def _overrun(self) -> None:
        self._timed_out = True
        self.failure = f"took too long while {self.state.value}"
        # Now, not at end-of-file: an answer that comes in between would make it idle again,
        # and the next batch would die with it.
        self._end()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, message: Load | Run) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():  # or connection_lost is about to be called
            self._transport.writelines(message.encode())


class Keeper:
    """So many places, each with a worker, as long as the host runs."""

    def __init__(
        self,
        spec: ServiceSpec,
        on_idle: Callable[[], None],
        on_end: Callable[[Worker], None],
    ) -> None:
        self._spec = spec
        self._on_idle = on_idle
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
            worker = self._workers[place] = Worker(self._spec, place, self._on_idle)
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


def _environment(threads: int) -> dict[str, str]:
    """What a worker inherits: nothing of the platform's secrets, and its share of the cores.

    Every library reads its thread count from another variable, and all of them
    read it while they are imported.
    """
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ):
        environment[name] = str(threads)
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    return environment
