"""What a worker inherits, and what its variables do to its memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from minion.host.environment import THREAD_COUNTS, worker_environment
from minion.host.lane import Lane
from tests.minion.service import ask


def test_a_worker_inherits_no_secret_and_no_path_of_the_platform() -> None:
    ours = {"HOME": "/home/us", "DEMITASSE_REGISTRY_URL": "secret", "PYTHONPATH": "/ours"}

    given = worker_environment(ours, threads=1)

    assert given["HOME"] == "/home/us"
    assert not given.keys() & {"DEMITASSE_REGISTRY_URL", "PYTHONPATH", "PATH"}


@pytest.mark.parametrize("variable", THREAD_COUNTS)
def test_every_library_is_told_the_threads_of_the_manifest(variable: str) -> None:
    ours = {variable: "64"}

    assert worker_environment(ours, threads=3)[variable] == "3"


async def test_the_memory_of_a_batch_is_there_for_the_next_one(
    start_lane: Callable[..., Awaitable[Lane]],
) -> None:
    lane = await start_lane("Scratch")
    await ask(lane, 1)

    faults = (await ask(lane, 2))["x"]

    assert faults < 1000  # of the 16,384 pages
