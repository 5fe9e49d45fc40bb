from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import Tree

#: Burns more than half a second of CPU in a daemon whose parent has gone, says its pid, and stays.
DAEMON = """
import os, sys, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    while time.process_time() < 0.6:
        pass
    Path("new").write_text(str(os.getpid()))
    os.rename("new", "pid")
    time.sleep(600)
os.wait()
time.sleep(600)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Tree]:
    """A tree whose daemon has done its work."""
    command = [sys.executable, "-c", DAEMON]
    tree = Tree(command, log=tmp_path / "log", variables={}, folder=tmp_path)
    while not (tmp_path / "pid").exists():
        assert tree.is_alive(), (tmp_path / "log").read_text()
    yield tree
    tree.stop()


def test_a_daemon_counts_among_its_servers_processes(daemon: Tree) -> None:
    assert daemon.cpu_seconds() >= 0.5
    assert daemon.memory_bytes() > 0


def test_what_each_of_them_holds_is_seen(daemon: Tree, tmp_path: Path) -> None:
    held = daemon.held()

    assert len(held) == 2, "the server, and the daemon"
    of_daemon = held[int((tmp_path / "pid").read_text())]
    assert of_daemon.memory_bytes > 2**20
    assert (of_daemon.descriptors, of_daemon.shared, of_daemon.threads) == (3, 0, 1)


@pytest.mark.timeout(30)
def test_a_daemon_ends_with_its_server(daemon: Tree, tmp_path: Path) -> None:
    pid = int((tmp_path / "pid").read_text())

    daemon.stop()

    while is_running(pid):  # it has been killed; the kernel takes its time
        os.sched_yield()


#: Has a semaphore that only the tracker of its own resources would take away.
SEMAPHORE = """
import multiprocessing, os, signal, time
from pathlib import Path
semaphore = multiprocessing.get_context("spawn").Semaphore()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
Path("new").write_text(semaphore._semlock.name)
os.rename("new", "name")
time.sleep(600)
"""


@pytest.mark.timeout(60)
def test_whoever_tidies_up_after_a_server_is_given_the_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SEMAPHORE]
    tree = Tree(command, log=tmp_path / "log", variables={}, folder=tmp_path)
    while not (tmp_path / "name").exists():
        assert tree.is_alive(), (tmp_path / "log").read_text()
    left = Path("/dev/shm") / f"sem.{(tmp_path / 'name').read_text().lstrip('/')}"
    assert left.exists()

    tree.stop()

    assert not left.exists()


def is_running(pid: int) -> bool:
    """Nor is a process that nobody has waited for yet."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
