"""One worker process, from exec to its end.

The lane sees a worker only through `on_room` (it takes a batch), `run` and the
callbacks of a batch: begun, done, failed as a whole, or lost with the process. Which
batches a process has is kept in `handed`. `keeper` has the places and puts a new
worker into a place whose worker ended.
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
from collections.abc import Callable, Sequence
from typing import cast

from minion.host.arena import Arena
from minion.host.children import Children
from minion.host.handed import Handed, RunningBatch
from minion.host.limits import held_bytes
from minion.host.output import Output
from minion.host.poison import Loss, loss_of
from minion.host.processes import Process, Wanted, is_stopped, lives, start_worker
from minion.host.restarts import describe_ending, is_stable
from minion.host.spec import ServiceSpec
from minion.host.temporary import is_empty, make_folder, remove_folder
from minion.host.watchdog import Watchdog
from wire.batches import BatchFailure, BatchResult, Load, Loaded, Run, TensorRef, decode
from wire.errors import WireError
from wire.frames import FrameReader
from wire.tensor import Tensor, byte_size

log = logging.getLogger("demitasse.worker")

#: For so long a batch waits for the exit status of its process, once that has hung up.
STATUS_SECONDS = 5.0


class State(enum.Enum):
    """STARTING (-> SPARE) -> IDLE <-> BUSY, and from each of them -> ENDED."""

    STARTING = "starting"
    SPARE = "spare"
    """It has loaded, and has no place yet: it gets no batch."""
    IDLE = "idle"
    BUSY = "busy"
    ENDED = "ended"


class Worker(asyncio.Protocol):
    """One worker process and the host's end of its socket pair."""

    def __init__(
        self,
        spec: ServiceSpec,
        children: Children,
        on_room: Callable[[], None],
        on_loaded: Callable[[Worker], None],
        on_worn: Callable[[Worker], None],
        on_watch: Callable[[], None],
    ) -> None:
        """
        Args:
            children: those of this process.
            on_room: called whenever it takes a batch.
            on_loaded: called once, before that.
            on_worn: called once, when it is time for a successor.
            on_watch: called every so often while it loads or runs a batch: it may take more.
        """
        self.state = State.STARTING
        self.settled = asyncio.Event()
        """It has loaded, or has ended."""
        self.retired = False
        self.soon_full = False
        """Whether it held too much so soon after loading that its successor will as well."""
        self.loaded_bytes = 0
        """What it held when it had loaded."""
        self.temporary = ""
        """Its folder for what it needs for a while."""
        self.loaded: Loaded | None = None
        self.failure: str | None = None
        self.answered = 0
        """Batches."""
        self.met_suspects = False
        """Whether it ended with examples that had ended another before."""
        self._started_at = math.inf
        self._loaded_at = math.inf
        self._spec = spec
        self._children = children
        self._entered = False
        self._worn = False
        self._examples = 0
        self._ended_a_batch = False
        self._folder_was_empty = False
        self._on_room = on_room
        self._on_loaded = on_loaded
        self._on_worn = on_worn
        self._arena: Arena
        self._output: Output
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: Process | None = None
        self._handed = Handed()
        self.on_watch = on_watch
        self._watchdog = Watchdog(self._overrun, on_watch)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def last_lines(self) -> Sequence[str]:
        """What the process printed last, once it was started."""
        return self._output.last_lines if self._process else ()

    @property
    def proved(self) -> bool:
        """It answered a batch, or stayed for a while. To have loaded alone says little."""
        return self.answered > 0 or self._stable

    @property
    def _stable(self) -> bool:
        return is_stable(asyncio.get_running_loop().time() - self._loaded_at)

    @property
    def start_seconds(self) -> float:
        """What loading took, or has taken by now; 0 of one that was not started."""
        now = asyncio.get_running_loop().time()
        return max(min(self._loaded_at, now) - self._started_at, 0.0)

    async def live(self) -> None:
        """Starts the process and returns when it has ended, and is reaped.

        Raises:
            OSError: it cannot be started; nothing is left of the attempt.
        """
        self._started_at = asyncio.get_running_loop().time()
        self.temporary = make_folder(self._spec.temporary)
        try:
            with (
                contextlib.closing(Arena()) as self._arena,
                contextlib.closing(Output(self._say)) as self._output,
            ):
                await self._live()
        finally:
            await self._children.end_orphans()
            await asyncio.to_thread(remove_folder, self.temporary)

    async def _live(self) -> None:
        loss = Loss.INTERRUPTED
        try:
            process = await self._start()
            status = await process.wait()
            self.failure = self.failure or describe_ending(status)
            loss = loss_of(status)
        finally:
            self._end(loss)
            self._lose(loss)
            if self._process is not None:
                await self._process.wait()

    async def _start(self) -> Process:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                wanted = Wanted(
                    *(theirs.fileno(), self._arena.descriptor, self._output.theirs),
                    self.temporary,
                )
                self._process = await start_worker(self._spec, wanted, self._children)
            self._output.started()
            ours.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
        self._watchdog.expect(self._spec.load_timeout_seconds)
        self._send(self._load())
        return self._process

    def _say(self, line: str) -> None:
        log.info("%s: %s", self.pid, line)

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
            torch=spec.torch,
            outputs=spec.outputs,
        )

    @property
    def wrote(self) -> bool:
        """Whether what is in its folder comes of the batch that it runs: nothing was there when
        it had loaded, and this is its first."""
        return self._folder_was_empty and not self._ended_a_batch

    @property
    def takes_next(self) -> bool:
        """Whether it runs a batch and has no other waiting, and is to have one.

        Of one that waits there, nobody can tell to the last moment that it was not begun.
        """
        free = self.state is State.BUSY and not self._handed.waiting and not self.retired
        return free and self._spec.pure

    def enter(self) -> None:
        """It has a place: it takes batches once it has loaded."""
        self._entered = True
        if self.state is State.SPARE:
            self._become_idle()

    def wear(self, *, full: bool = False) -> None:
        """It should have a successor; until that has loaded it goes on.

        Args:
            full: since it holds too much, and not for what it has answered.
        """
        if not self._worn:
            self._worn = True
            self.soon_full = full and not self._stable
            self._on_worn(self)

    def retire(self) -> None:
        """It takes no more batches, and ends when it has run those that it has."""
        self.retired = True
        if self.state is State.IDLE:
            self._end(Loss.INTERRUPTED)

    def end(self, reason: str, loss: Loss = Loss.INTERRUPTED) -> None:
        """Ends the process, now, with what it runs; the reason is what its ending is told as,
        unless there was one before."""
        self.failure = self.failure or reason
        self._end(loss)

    def run(self, batch: RunningBatch) -> None:
        """Hands the batch to the process. The worker must be idle, or take a next one."""
        assert self.state is State.IDLE or self.takes_next
        run = self._handed.add(batch, self._arena.inputs)
        self._examples += run.size
        self._send(run)
        if self.state is State.IDLE:
            self.state = State.BUSY
            self._begin()

    def _begin(self) -> bool:
        """Starts the clock of the batch that waits; whether one does."""
        batch = self._handed.begin()
        if batch is None:
            return False
        self._watchdog.expect(self._spec.predict_timeout_seconds)
        batch.begun()
        return True

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
            with contextlib.suppress(ProcessLookupError, PermissionError):
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
            self._end(Loss.CRASHED)

    def connection_lost(self, exc: Exception | None) -> None:
        theirs = exc is None or isinstance(exc, ConnectionError)  # and no mistake of this process
        hung_up = theirs and self._process is not None and lives(self._process.pid)
        if hung_up and self.state is not State.ENDED:
            self.end("closed its connection", Loss.CRASHED)
        # Comes before the exit status, which tells whether the batch may be to blame. A driver
        # can hold that up for long: then nobody is blamed.
        self._end(None)
        if self._handed.running:
            loop = asyncio.get_running_loop()
            loop.call_later(STATUS_SECONDS, self._lose, Loss.INTERRUPTED)

    def _received(self, message: object) -> None:
        self._watchdog.rest()
        if isinstance(message, BatchResult):
            self._done(message)
            self._go_on()
        elif isinstance(message, BatchFailure) and self.state is State.STARTING:
            self.failure = message.detail
        elif isinstance(message, BatchFailure):
            self._handed.finish(message.id).failed(message)
            self._go_on()
        elif isinstance(message, Loaded) and self.state is State.STARTING:
            assert self._process is not None
            self._watchdog.stop()  # it was that of loading, which has a time of its own
            self.loaded, self._loaded_at = message, asyncio.get_running_loop().time()
            self.loaded_bytes = held_bytes(self._process.pid, self._spec)
            self._folder_was_empty = is_empty(self.temporary)
            self.settled.set()
            self._on_loaded(self)
            self.state = State.SPARE
            if self._entered:
                self._become_idle()
        else:
            raise WireError(f"{type(message).__name__} while {self.state.value}")

    def _done(self, result: BatchResult) -> None:
        batch = self._handed.finish(result.id)
        try:
            batch.done(result, self)
        except WireError:
            self._handed.resume(batch)  # and is lost with the process
            raise
        self.answered += 1

    def _go_on(self) -> None:
        self._ended_a_batch = True
        if self._spec.max_requests is not None and self._examples >= self._spec.max_requests:
            self.wear()
        if self._begin():
            self._on_room()
        else:
            self._become_idle()

    def _become_idle(self) -> None:
        if self.retired:
            self._end(Loss.INTERRUPTED)
            return
        self.state = State.IDLE
        self._on_room()

    def _end(self, loss: Loss | None) -> None:
        """It takes nothing more, and nothing of it goes on.

        Args:
            loss: of the batch that it runs; None: to be told later, by `_lose`.
        """
        if self.state is State.ENDED:
            return
        self._watchdog.stop()
        self.kill()
        self.state = State.ENDED
        self.settled.set()
        if self._transport is not None:
            self._transport.close()
        # In this order: the innocent do not stand behind the suspects.
        waiting = self._handed.take_back()
        if waiting is not None:
            waiting.returned()
        if loss is not None:
            self._lose(loss)

    def _lose(self, loss: Loss) -> None:
        running = self._handed.lose()
        if running is not None:
            self.met_suspects = running.suspected
            running.lost(loss)

    def _overrun(self) -> None:
        self.failure = f"took too long while {self.state.value}"
        stopped = self._process is not None and is_stopped(self._process.pid)
        # Now, not at end-of-file: an answer that comes in between would make it idle again,
        # and the next batch would die with it.
        self._end(Loss.INTERRUPTED if stopped else Loss.OVERRAN)

    def _send(self, message: Load | Run) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():  # or connection_lost is about to be called
            self._transport.writelines(message.encode())
