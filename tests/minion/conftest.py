from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from minion.host.lane import Lane
from tests.minion.service import Gate, service
from tests.minion.templates import Template, started
from tests.processes import children
from tests.waiting import eventually


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Hosts run on uvloop, so do their tests."""
    return {"uvloop": uvloop.new_event_loop}


def descriptors() -> Counter[str]:
    """Open sockets and shared memories of this process."""
    gc.collect()  # a mapping goes with the last array that looks at it
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return Counter(kind for link in links for kind in ("socket:", "memfd:") if kind in link)


@pytest.fixture
async def start_lane() -> AsyncIterator[Callable[..., Awaitable[Lane]]]:
    """Starts lanes that are ready; stops them, and looks whether anything is left open."""
    # The loop opens a pair of sockets of its own with its first process.
    await (await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.DEVNULL)).wait()
    before, children_before = descriptors(), children(os.getpid())
    lanes: list[Lane] = []

    async def start(
        model: str,
        *,
        wait: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **changes: Any,
    ) -> Lane:
        lane = Lane(service(model, **changes), clock=clock)
        lanes.append(lane)
        lane.start()
        if wait:
            await eventually(lambda: lane.ready, "the lane is ready")
        return lane

    yield start
    for lane in lanes:
        await lane.stop()
    assert not children(os.getpid()) - children_before
    lanes.clear()
    await eventually(lambda: not descriptors() - before, "everything is closed")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    with started(tmp_path / "template.sock", "colorsys", "numpy.random") as template:
        yield template
