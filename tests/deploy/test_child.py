"""One process that is kept running: real processes, told what to do by a line of Python."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.child import Child
from deploy.logfile import MAX_LOG_BYTES
from minion.host.restarts import FIRST_DELAY_SECONDS
from tests.processes import alive
from tests.waiting import eventually

#: Says that it is there, and stays until it is told to go.
STAYS = "print('here', flush=True); import signal; signal.pause()"
#: The same, but hears no SIGTERM.
STAYS_PUT = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"


class Watched:
    """A child, and what it told its supervisor."""

    def __init__(self, folder: Path, *codes: str) -> None:
        self.log = folder / "child.log"
        self.starts: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self._codes = codes
        self.child = Child(
            self._command,
            log=self.log,
            environment=os.environ,
            on_start=lambda starts, pid: self.starts.put_nowait((starts, pid)),
            on_end=self.ends.put_nowait,
        )

    def _command(self, starts: int) -> Sequence[str]:
        return [sys.executable, "-I", "-S", "-c", self._codes[min(starts, len(self._codes) - 1)]]

    async def here(self) -> None:
        """Until the process has said so."""
        await eventually(lambda: self.log.exists() and b"here" in self.log.read_bytes(), "it is")


@asynccontextmanager
async def kept(folder: Path, *codes: str) -> AsyncIterator[Watched]:
    watched = Watched(folder, *codes)
    keeping = asyncio.create_task(watched.child.keep())
    try:
        async with asyncio.timeout(30):
            yield watched
    finally:
        watched.child.kill()
        await asyncio.wait([keeping])


async def test_a_process_that_ends_is_started_again_and_knows_how_often(tmp_path: Path) -> None:
    async with kept(tmp_path, "raise SystemExit(3)", STAYS) as watched:
        first, second = await watched.starts.get(), await watched.starts.get()

        assert (first[0], second[0]) == (0, 1)
        assert await watched.ends.get() == "ended with status 3"
        assert watched.child.pid == second[1]


async def test_a_killed_process_is_said_to_have_been(tmp_path: Path) -> None:
    async with kept(tmp_path, STAYS) as watched:
        _, pid = await watched.starts.get()
        os.kill(pid, 9)

        assert await watched.ends.get() == "killed by signal 9"


async def test_a_command_that_cannot_be_executed_is_said_and_tried_again(tmp_path: Path) -> None:
    ends: asyncio.Queue[str] = asyncio.Queue()
    child = Child(
        lambda starts: [str(tmp_path / "nothing")],
        log=tmp_path / "child.log",
        environment={},
        on_start=lambda starts, pid: pytest.fail("it cannot have been started"),
        on_end=ends.put_nowait,
    )
    keeping = asyncio.create_task(child.keep())

    assert "cannot be started" in await ends.get()
    assert "No such file" in await ends.get()

    await child.stop(1.0)
    await keeping


async def test_stop_is_a_request_first(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(15, lambda *_: (print('bye'), exit())); {STAYS}"
    async with kept(tmp_path, code) as watched:
        await watched.here()
        await watched.child.stop(20.0)

        assert b"bye" in watched.log.read_bytes()
        assert watched.child.pid is None
        assert watched.ends.empty(), "it did not end of itself"


async def test_who_does_not_hear_the_request_is_killed_when_the_grace_is_over(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path, STAYS_PUT) as watched:
        await watched.here()
        await watched.child.stop(0.05)

        assert watched.child.pid is None


async def test_stop_while_the_process_is_being_started_stops_it(tmp_path: Path) -> None:
    watched = Watched(tmp_path, STAYS)
    keeping = asyncio.create_task(watched.child.keep())
    await asyncio.sleep(0)  # keep has asked for a process; there is none yet
    assert watched.child.pid is None

    async with asyncio.timeout(10):  # and not the grace
        await watched.child.stop(600.0)
        await keeping

    assert watched.child.pid is None


async def test_stop_while_a_restart_is_waited_for_returns_at_once(tmp_path: Path) -> None:
    async with kept(tmp_path, "") as watched:
        for _ in range(4):
            await watched.ends.get()

        async with asyncio.timeout(FIRST_DELAY_SECONDS * 2**3 / 2):
            await watched.child.stop(5.0)


async def test_a_child_dies_with_the_task_that_keeps_it(tmp_path: Path) -> None:
    watched = Watched(tmp_path, STAYS)
    keeping = asyncio.create_task(watched.child.keep())
    _, pid = await watched.starts.get()

    keeping.cancel()
    await asyncio.wait([keeping])

    assert not alive(pid)


async def test_a_log_that_has_grown_long_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log, aside = tmp_path / "child.log", tmp_path / "child.log.1"
    log.touch()
    os.truncate(log, MAX_LOG_BYTES + 1)

    async with kept(tmp_path, STAYS):
        await eventually(lambda: log.stat().st_size <= len("here\n"), "it is begun anew")

        assert aside.stat().st_size > MAX_LOG_BYTES


async def test_who_does_not_keep_the_log_short_goes_on_where_another_writes(
    tmp_path: Path,
) -> None:
    log = tmp_path / "child.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # as a predecessor has it
    os.truncate(log, MAX_LOG_BYTES + 1)
    watched = Watched(tmp_path, STAYS)
    watched.child.keeps_log = False
    keeping = asyncio.create_task(watched.child.keep())
    try:
        await eventually(lambda: log.stat().st_size > MAX_LOG_BYTES + 1, "it has said something")
        os.write(descriptor, b"and then\n")

        assert log.stat().st_size == MAX_LOG_BYTES + 1 + len("here\nand then\n")
        assert not (tmp_path / "child.log.1").exists()
    finally:
        os.close(descriptor)
        watched.child.kill()
        await asyncio.wait([keeping])


async def test_a_log_that_grows_long_is_put_aside_while_its_process_goes_on(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path, STAYS) as watched:
        await watched.here()
        descriptor = os.open(watched.log, os.O_WRONLY | os.O_APPEND)  # as the process has it
        os.write(descriptor, b"x" * MAX_LOG_BYTES)

        aside = tmp_path / "child.log.1"
        await eventually(lambda: watched.log.stat().st_size == 0, "it is begun anew")
        os.write(descriptor, b"and then\n")
        os.close(descriptor)

        assert watched.log.read_text() == "and then\n"
        assert aside.stat().st_size == MAX_LOG_BYTES + len("here\n")


async def test_a_short_log_is_continued(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("so far\n")

    async with kept(tmp_path, STAYS) as watched:
        await watched.here()

        assert watched.log.read_text() == "so far\nhere\n"
