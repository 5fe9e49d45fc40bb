"""What lost its parent, and which of it a supervisor ends: in a process that adopts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import alive

ROOT = Path(__file__).parents[2]

#: Adopts a process that was started with the TMPDIR of the second argument and has lost its
#: parent, ends what belongs below the first, and says whether it did, until that is waited for.
SUPERVISOR = """
import os, subprocess, sys, time
from pathlib import Path
from deploy.orphans import Orphans
from wire.lifetimes import adopt_orphans, children

adopt_orphans()
orphans = Orphans(Path(sys.argv[1]))
leaves = "import os, time; os.fork() or (os.setsid(), time.sleep(3600))"
words = [sys.executable, "-I", "-S", "-c", leaves]
subprocess.run(words, env={"TMPDIR": sys.argv[2]}, stdout=subprocess.DEVNULL)
[orphan] = children()
ended = orphans.end_adopted()
while ended and children():
    time.sleep(0.01)
    orphans.end_adopted()
print(orphan, ended)
"""


def orphan_of(below: Path, its: Path) -> tuple[int, bool]:
    """The pid of the process, and whether it was ended."""
    words = [sys.executable, "-c", SUPERVISOR, str(below), str(its)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, timeout=30, check=True)
    pid, ended = done.stdout.split()
    return int(pid), ended == b"1"


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_workers_process_that_was_adopted_is_ended_and_waited_for(tmp_path: Path):
    pid, ended = orphan_of(tmp_path / "t", tmp_path / "t" / "1" / "w-1")

    try:
        assert ended
        assert not Path(f"/proc/{pid}").exists()
    finally:
        end(pid)


@pytest.mark.parametrize("its", ["elsewhere", "t2/1", "t"], ids=str)
def test_one_that_is_none_of_ours_is_let_be(tmp_path: Path, its: str):
    pid, ended = orphan_of(tmp_path / "t", tmp_path / its)

    try:
        assert not ended
        assert alive(pid)
    finally:
        end(pid)
