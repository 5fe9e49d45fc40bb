from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import Tree
from tests.acceptance.platform import eventually
from tests.processes import alive

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
    wait_for(tmp_path / "pid", tree)
    yield tree
    tree.stop()


def test_a_daemon_counts_among_its_servers_processes(daemon: Tree) -> None:
    assert daemon.cpu_seconds() >= 0.5
    assert daemon.memory_bytes() > 0


def test_a_daemon_is_one_of_its_servers_processes(daemon: Tree, tmp_path: Path) -> None:
    pids = daemon.pids()

    assert len(pids) == 2, "the server, and the daemon"
    assert int((tmp_path / "pid").read_text()) in pids


def test_a_daemon_ends_with_its_server(daemon: Tree, tmp_path: Path) -> None:
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)

    daemon.stop()

    # It has been killed; the kernel takes its time.
    eventually(lambda: not alive(pid), within=20, what="the daemon's end")


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
    wait_for(tmp_path / "name", tree)
    left = Path("/dev/shm") / f"sem.{(tmp_path / 'name').read_text().lstrip('/')}"
    assert left.exists()

    tree.stop()

    assert not left.exists()


def wait_for(file: Path, tree: Tree) -> None:
    """Until the tree has written it."""

    def there() -> bool:
        assert tree.is_alive(), (file.parent / "log").read_text()
        return file.exists()

    eventually(there, within=30, what=file.name)
