"""How a coordinator process ends, by what it is told; and how another one takes its place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from edge import Caller, Reply, calling
from stage import PATIENCE_SECONDS, Gate, Stage

from coordinator.__main__ import LINK_SECONDS
from coordinator.http.ending import Ending
from model_registry.leases import Replica as Lease

#: What a process takes to start, mostly.
START_SECONDS = 3.0
ROOT = Path(__file__).parents[2]
READYZ = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"inputs": {"x": [1]}}'
ASK = (
    b"POST /models/gate/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
)


class Process:
    """`python -m coordinator`, and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []

    async def until(self, text: str) -> str:
        """The first message that has the text."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.said or text not in self.said[-1]:
                line = await self._process.stderr.readline()
                assert line, f"ended without saying {text!r}: {self.said}"
                self.said.append(json.loads(line)["message"])
        return self.said[-1]

    async def port(self) -> int:
        return int((await self.until("listening on")).rpartition(":")[2])

    def tell(self, number: int) -> None:
        self._process.send_signal(number)

    async def status(self) -> int:
        """Its exit status, once it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._process.wait()


@asynccontextmanager
async def started(
    stage: Stage, *words: str, inherited: tuple[int, ...] = (), **settings: float
) -> AsyncIterator[Process]:
    chosen = {"home": stage.home, "port": 0, "admin_port": 0, **settings}
    environment = {f"DEMITASSE_{name.upper()}": str(value) for name, value in chosen.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coordinator", *words),
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
        pass_fds=inherited,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def asking(
    stage: Stage, *words: str, **settings: float
) -> AsyncIterator[tuple[Process, Gate, Caller]]:
    """A process, and a caller whose request is on its way to a model behind this gate."""
    stage.publish("gate")
    gate = stage.gate()
    await stage.host("gate", options={"gate": str(gate.path)})
    async with (
        started(stage, *words, **settings) as process,
        calling(await process.port()) as caller,
    ):
        await caller.send(ASK)
        yield process, gate, caller


async def asked(caller: Caller, data: bytes) -> Reply:
    await caller.send(data)
    return await replied(caller)


async def replied(caller: Caller) -> Reply:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await caller.reply()


@pytest.fixture
def socket_of_a_supervisor() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


async def test_a_lame_duck_is_not_ready_and_takes_connections_each_for_one_answer(
    stage: Stage,
) -> None:
    async with started(stage, lame_duck=60.0) as process:
        port = await process.port()
        async with calling(port) as kept:
            before = await asked(kept, READYZ)
            process.tell(signal.SIGTERM)
            await process.until("ending")
            during = await asked(kept, READYZ)
            async with calling(port) as late:
                alive = await asked(late, LIVEZ)
                assert await late.closed()
        process.tell(signal.SIGTERM)

        assert await process.status() == 0
    assert before.json()["code"] == "not-serving", "there is no decoder"
    assert (during.status, during.json()["code"]) == (503, "draining")
    assert int(during.headers["retry-after"]) >= 1
    assert during.headers["connection"] == "close"
    assert (alive.status, alive.headers["connection"]) == (200, "close")


async def test_whoever_is_in_progress_is_told_when_the_grace_is_over_and_the_status_says_so(
    stage: Stage,
) -> None:
    async with asking(stage, drain_grace=0.2) as (process, gate, caller):
        async with gate.held():
            process.tell(signal.SIGTERM)
            reply = await replied(caller)

        assert (reply.status, reply.json()["code"]) == (503, "draining")
        assert await process.until("1 requests were in progress")
        assert await process.status() == 3


async def test_a_second_signal_ends_at_once_and_whoever_is_in_progress_is_told(
    stage: Stage,
) -> None:
    async with asking(stage, drain_grace=1000.0) as (process, gate, caller):
        async with gate.held():
            process.tell(signal.SIGTERM)
            await process.until("ending")
            process.tell(signal.SIGINT)
            reply = await replied(caller)

        assert (reply.status, reply.json()["code"]) == (503, "draining")
        assert await process.status() == 3


async def test_under_a_supervisor_who_is_told_twice_finishes_what_is_in_progress(
    stage: Stage,
) -> None:
    words = "--parent-pid", str(os.getpid())
    async with asking(stage, *words, drain_grace=1000.0) as (process, gate, caller):
        async with gate.held():
            process.tell(signal.SIGTERM)  # by the service manager
            await process.until("ending")
            process.tell(signal.SIGTERM)  # by the supervisor
        reply = await replied(caller)

        assert reply.status == 200
        assert await process.status() == 0


def test_who_is_told_again_that_it_hands_over_still_does() -> None:
    ending = Ending()
    ending.hand_over()
    ending.hand_over()

    assert ending.handed_over


async def test_who_connects_between_a_killed_process_and_the_next_is_answered_by_the_next(
    stage: Stage, socket_of_a_supervisor: socket.socket
) -> None:
    number = socket_of_a_supervisor.fileno()
    words = f"--public={number}"
    port = socket_of_a_supervisor.getsockname()[1]
    async with started(stage, words, inherited=(number,)) as process:
        assert await process.port() == port
        process.tell(signal.SIGKILL)
        await process.status()
    async with calling(port) as caller:
        await caller.send(LIVEZ)
        async with started(stage, words, inherited=(number,)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await caller.reply()).status == 200


async def test_one_that_hands_over_leaves_readiness_to_its_successor(
    stage: Stage, socket_of_a_supervisor: socket.socket
) -> None:
    number = socket_of_a_supervisor.fileno()
    async with started(stage, f"--public={number}", inherited=(number,)) as process:
        async with calling(await process.port()) as kept:
            await asked(kept, LIVEZ)
            process.tell(signal.SIGUSR1)
            await process.until("ending: handed over")
            reply = await asked(kept, READYZ)

        assert await process.status() == 0
    assert reply.json()["code"] == "not-serving", "there is no decoder; and no word of an end"
    assert reply.headers["connection"] == "close"


async def test_a_successor_waits_for_a_host_longer_than_one_whose_place_is_empty(
    stage: Stage, socket_of_a_supervisor: socket.socket
) -> None:
    await stage.decoder()
    stage.leases.put(
        Lease("late-0", "late", "1.0.0", f"unix:{stage.home}/late.sock", 1, os.getpid()), ttl=60.0
    )
    number = socket_of_a_supervisor.fileno()
    reads, writes = os.pipe()
    words = f"--public={number}", f"--successor={writes}"
    with os.fdopen(reads) as told:
        async with started(stage, *words, inherited=(number, writes)) as process:
            os.close(writes)
            saying = asyncio.create_task(asyncio.to_thread(told.readline))
            done, _ = await asyncio.wait([saying], timeout=START_SECONDS + LINK_SECONDS)
            stage.leases.drop(["late-0"])

            assert await saying == "ready\n"
            assert not done
            process.tell(signal.SIGTERM)
            assert await process.status() == 0


async def test_a_successor_takes_connections_when_it_is_ready_and_says_what_it_waits_for(
    stage: Stage, socket_of_a_supervisor: socket.socket
) -> None:
    number, port = socket_of_a_supervisor.fileno(), socket_of_a_supervisor.getsockname()[1]
    reads, writes = os.pipe()
    words = f"--public={number}", f"--successor={writes}"
    with os.fdopen(reads) as told:
        async with started(stage, *words, inherited=(number, writes)) as process:
            os.close(writes)
            async with calling(port) as caller:
                await caller.send(READYZ)
                assert await asyncio.to_thread(told.readline) == "not ready yet: decoder\n"
                await stage.decoder()
                assert await asyncio.to_thread(told.readline) == "ready\n"
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert (await caller.reply()).status == 200
            process.tell(signal.SIGTERM)
            assert await process.status() == 0
