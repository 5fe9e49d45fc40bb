"""What lost its parent, and which of it a supervisor ends: in a process that adopts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.orphans import Orphans
from tests.acceptance.platform import eventually
from tests.processes import alive

ROOT = Path(__file__).parents[2]

#: Adopts a process that was started with the TMPDIR of the second argument, or has mapped what
#: is called like that, and has lost its parent; ends what belongs below the first, and says
#: whether it did, until that is waited for.
SUPERVISOR = """
import os, subprocess, sys, time
from pathlib import Path
from deploy.orphans import Orphans
from wire.lifetimes import adopt_orphans, children
from wire.marks import leave_mark

adopt_orphans()
_, below, its, how = sys.argv
orphans = Orphans(Path(below))
leaves = "import os, time; os.fork() or (os.setsid(), time.sleep(3600))"
marks = "leave_mark(its); os.write(said, b'.'); time.sleep(3600)"
if how == "program":
    words = [sys.executable, "-I", "-S", "-c", leaves]
    subprocess.run(words, env={"TMPDIR": its}, stdout=subprocess.DEVNULL)
elif (parent := os.fork()) == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if how == "fork":
        leave_mark(its)
        exec(leaves)
    else:
        heard, said = os.pipe()
        os.fork() or exec(marks)
        os.read(heard, 1)
    os._exit(0)
else:
    os.waitpid(parent, 0)
[orphan] = children()
ended = orphans.end_adopted()
while ended and children():
    time.sleep(0.01)
    orphans.end_adopted()
print(orphan, ended)
"""

#: A program that a worker has started, or a plain fork of a worker that came from a template
#: (such a worker itself is a third kind).
HOW = ("program", "fork")


def orphan_of(below: Path, its: Path, how: str) -> tuple[int, bool]:
    """The pid of the process, and whether it was ended."""
    words = [sys.executable, "-c", SUPERVISOR, str(below), str(its), how]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=30, check=True)
    pid, ended = done.stdout.split()
    return int(pid), ended == b"1"


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", HOW)
def test_a_workers_process_that_was_adopted_is_ended_and_waited_for(tmp_path: Path, how: str):
    pid, ended = orphan_of(tmp_path / "t", tmp_path / "t" / "1" / "w-1", how)

    try:
        assert ended
        assert not Path(f"/proc/{pid}").exists()
    finally:
        end(pid)


def test_a_worker_whose_template_has_ended_is_its_hosts_while_there_is_a_supervisor(
    tmp_path: Path,
):
    pid, ended = orphan_of(tmp_path / "t", tmp_path / "t" / "1" / "w-1", "worker")

    try:
        assert not ended
        assert alive(pid)
        Orphans(tmp_path / "t").end_all()
        eventually(lambda: not alive(pid), within=10, what="its end")
    finally:
        end(pid)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("its", ["elsewhere", "t2/1", "t"], ids=str)
def test_one_that_is_none_of_ours_is_let_be(tmp_path: Path, its: str, how: str):
    pid, ended = orphan_of(tmp_path / "t", tmp_path / its, how)

    try:
        assert not ended
        assert alive(pid)
    finally:
        end(pid)
