"""`python -m coordinator` as a process: its end, its log, and the same without assertions."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from edge import calling
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
        sys.executable, *words, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
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


async def test_a_coordinator_that_cannot_read_its_secret_says_so_and_does_not_start(
    stage: Stage,
) -> None:
    absent = str(stage.home / "absent")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coordinator"),
        cwd=ROOT,
        env={**os.environ, "DEMITASSE_HOME": str(stage.home), "DEMITASSE_LINK_SECRET_FILE": absent},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()

    assert process.returncode == 2
    assert f"link_secret_file: {absent} cannot be read: No such file" in said.decode()


BAD = {
    "a broken head": (b"hello\r\n\r\n", 400),
    "no host": (b"GET /models HTTP/1.1\r\n\r\n", 400),
    "no json": (b"POST /models/gate/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Content-Type: application/json\r\n\r\n{", 503),
    "no model": (b"POST /models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Content-Type: application/json\r\n\r\n{", 404),
    "a timeout that is none": (b"GET /models HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", 417),
    "a coding that is none": (b"POST /analyze?timeout=nan HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 1\r\n\r\nx", 400),
    "a good one": (b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n", 200),
}  # fmt: skip


@pytest.mark.parametrize("optimised", [[], ["-O"]], ids=["as it is", "-O"])
async def test_without_assertions_the_same_is_refused_and_every_line_of_the_log_parses(
    stage: Stage, optimised: list[str]
) -> None:
    stage.publish("gate")
    process = await started(stage, *optimised, "-m", "coordinator")
    assert process.stderr is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not lines or b"listening" not in lines[-1]:
                lines.append(await process.stderr.readline())
            port = int(re.findall(r":(\d+)", json.loads(lines[-1])["message"])[-1])
            for name, (request, status) in BAD.items():
                async with calling(port) as caller:
                    await caller.send(request)
                    assert (await caller.reply()).status == status, name
    finally:
        process.terminate()
        _, rest = await process.communicate()

    assert process.returncode == 0
    said = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert any(each["message"].startswith("not a request") for each in said)
    assert all({"time", "level", "logger", "message"} <= each.keys() for each in said)


WITH_FEW_FILES = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 514))
runpy.run_module("coordinator", run_name="__main__")
"""


async def test_where_few_files_may_be_open_fewer_connections_are_kept(stage: Stage) -> None:
    few = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 514)); "
    process = await started(
        stage, "-c", few + "runpy.run_module('coordinator', run_name='__main__')"
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = json.loads(await process.stderr.readline())["message"]
            port = int(json.loads(await process.stderr.readline())["message"].rpartition(":")[2])
            async with calling(port), calling(port), calling(port) as third:
                await third.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                refused = await third.reply()
    finally:
        process.terminate()
        await process.communicate()

    assert said == "with 514 open files, max_connections is 2"
    assert refused.status == 503
