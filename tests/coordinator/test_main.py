"""`python -m coordinator` as a process: it does not outlive whoever started it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from stage import PATIENCE_SECONDS, Stage

ROOT = Path(__file__).parents[2]

#: Starts a coordinator as its child, says its process id, and ends at the end of its input.
PARENT = """
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-m", "coordinator", "--parent-pid", str(os.getpid())], stderr=subprocess.PIPE
)
assert b"listening" in child.stderr.readline()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


async def started(stage: Stage, *words: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "DEMITASSE_HOME": str(stage.home)}
    environment |= {"DEMITASSE_PORT": "0", "DEMITASSE_ADMIN_PORT": "0"}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe
    )


async def test_a_coordinator_whose_parent_is_gone_already_does_not_start(stage: Stage) -> None:
    process = await started(stage, "-m", "coordinator", "--parent-pid", str(os.getppid()))

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 1


async def test_a_coordinator_ends_with_its_parent(stage: Stage) -> None:
    parent = await started(stage, "-c", PARENT)
    assert parent.stdin is not None
    assert parent.stdout is not None

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await parent.stdout.readline() == b"ready\n"
        parent.stdin.close()
        await parent.wait()
        await parent.stdout.read()  # at its end, since the child that inherited it has gone too
