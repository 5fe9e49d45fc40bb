"""Processes end so gradually that others have the cores meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.platform import eventually
from wire.lifetimes import GradualEnd

DEAD, STOPPED = "Z", "T"


@contextmanager
def sleepers(count: int) -> Iterator[set[int]]:
    processes = [subprocess.Popen(["sleep", "3600"]) for _ in range(count)]
    try:
        yield {process.pid for process in processes}
    finally:
        for process in processes:
            process.kill()
            process.wait()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def become(pids: set[int], *, dead: int, stopped: int) -> None:
    wanted = [STOPPED] * stopped + [DEAD] * dead
    eventually(
        lambda: sorted(map(state, pids)) == wanted,
        within=10,
        what=f"{dead} dead, {stopped} stopped",
    )


def test_few_end_at_once():
    with sleepers(4) as pids:
        GradualEnd().look(pids)

        become(pids, dead=4, stopped=0)


@pytest.mark.parametrize(("count", "at_a_look"), [(12, 4), (260, 5)])
def test_of_many_some_end_and_the_others_stop(count: int, at_a_look: int):
    end = GradualEnd()
    with sleepers(count) as pids:
        end.look(pids)
        become(pids, dead=at_a_look, stopped=count - at_a_look)

        end.look(pids)
        become(pids, dead=2 * at_a_look, stopped=count - 2 * at_a_look)


def test_who_is_left_when_time_is_over_ends_at_once():
    end = GradualEnd()
    with sleepers(12) as pids:
        end.look(pids)
        end.finish(pids)

        become(pids, dead=12, stopped=0)


def test_who_is_gone_does_not_keep_the_others():
    with sleepers(3) as pids:
        gone = min(pids)
        os.kill(gone, signal.SIGKILL)
        os.waitpid(gone, 0)

        GradualEnd().look(pids)
        GradualEnd().finish(pids)

        become(pids - {gone}, dead=2, stopped=0)
