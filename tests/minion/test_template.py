"""Workers that are forked from a template are workers; without a template there are others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minion.host.environment import worker_environment
from minion.host.lane import Lane
from minion.host.spec import write_spec
from tests.minion.service import DEADLINE_SECONDS, POISON, ask, service
from tests.minion.templates import ROOT, Template, command, started
from tests.minion.test_host import client_of, infer, ready, status
from tests.processes import alive, children
from tests.waiting import eventually
from wire.forks import UNFIT_STATUS, Fork, encode

StartLane = Callable[..., Awaitable[Lane]]


def refused(path: str, packet: bytes) -> None:
    """Says something that makes no sense to a template; returns when it has hung up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as host:
        host.connect(path)
        host.send(packet)
        host.settimeout(DEADLINE_SECONDS)
        assert host.recv(1) == b""


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """A package whose model answers with what its own module `name` says."""

    def make(name: str, says: str) -> Path:
        folder = tmp_path / says
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"SAYS = {says!r}\n")
        (folder / "teller.py").write_text(
            "import os, sys\n"
            f"import {name}\n"
            "from minion.model import Model\n"
            "class Teller(Model):\n"
            "    def predict(self, batch):\n"
            f"        told = {{'says': {name}.SAYS, 'parent': os.getppid()}}\n"
            "        return [told for _ in range(batch.size)]\n"
        )
        return folder

    return make


# As any other worker.


async def test_a_worker_comes_from_the_template(start_lane: StartLane, template: Template) -> None:
    lane = await start_lane("Surroundings", template=template.socket)

    told = await ask(lane, 1)

    assert told["parent"] == template.pid
    assert told["pid"] == lane.keeper.workers[0].pid


async def test_where_there_is_no_framework_it_imports_what_every_worker_does(
    start_lane: StartLane, tmp_path: Path
) -> None:
    with started(tmp_path / "template.sock") as template:
        lane = await start_lane("Surroundings", template=template.socket)
        told = await ask(lane, 1)

    assert told["parent"] == template.pid


async def test_its_surroundings_are_those_of_one_that_was_started_plainly(
    start_lane: StartLane, template: Template
) -> None:
    plain = await ask(await start_lane("Surroundings"), 1)
    forked = await ask(await start_lane("Surroundings", template=template.socket), 1)

    for told in (plain, forked):
        assert told["group"] == told["session"] == told["pid"]
        assert told["temporary"] == told["environment"].pop("TMPDIR")
    assert plain["parent"] == os.getpid()
    for same in ("environment", "threads"):
        assert forked[same] == plain[same]


async def test_no_two_draw_the_same_random_numbers(
    start_lane: StartLane, template: Template
) -> None:
    lanes = [await start_lane("Surroundings", template=template.socket) for _ in range(2)]

    first, second = [(await ask(lane, 1))["draws"] for lane in lanes]

    assert first != second


async def test_what_it_prints_is_in_the_hosts_log(
    start_lane: StartLane, template: Template, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "demitasse.worker")
    lane = await start_lane("Prints", template=template.socket)

    assert (await ask(lane, 7))["x"] == 7
    pid = lane.keeper.workers[0].pid
    await lane.stop()

    assert f"{pid}: loading" in caplog.messages
    assert any(line.startswith(f"{pid}: DM\\x01") for line in caplog.messages)


async def test_two_packages_do_not_see_each_others_modules(
    start_lane: StartLane, template: Template, package: Callable[..., Path]
) -> None:
    folders = package("opinion", "yes"), package("opinion", "no")

    lanes = [
        await start_lane(
            "Echo", directory=str(folder), entry="teller:Teller", template=template.socket
        )
        for folder in folders
    ]
    told = [await ask(lane, 1) for lane in lanes]

    assert [each["says"] for each in told] == ["yes", "no"]
    assert {each["parent"] for each in told} == {template.pid}


async def test_where_the_environment_cannot_be_told_a_template_a_worker_is_started_plainly(
    start_lane: StartLane, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "\udcff")  # a byte that is no UTF-8

    lane = await start_lane("Echo", template=template.socket)

    assert lane.keeper.workers[0].pid in children(os.getpid())


async def test_a_package_with_a_module_that_the_template_has_too_is_started_plainly(
    start_lane: StartLane, template: Template, package: Callable[..., Path]
) -> None:
    folder = package("colorsys", "its own")

    lane = await start_lane(
        "Echo", directory=str(folder), entry="teller:Teller", template=template.socket
    )

    assert await ask(lane, 1) == {"says": "its own", "parent": os.getpid()}


# Endings.


async def test_a_worker_that_dies_is_replaced_from_the_template(
    start_lane: StartLane, template: Template
) -> None:
    lane = await start_lane("Surroundings", template=template.socket)
    first = await ask(lane, 1)

    os.kill(first["pid"], signal.SIGKILL)
    second = await ask(lane, 1)

    assert second["pid"] != first["pid"]
    assert second["parent"] == template.pid
    assert lane.keeper.last_failure == "killed by signal 9"


async def test_its_exit_status_is_known(start_lane: StartLane, template: Template) -> None:
    lane = await start_lane("Parent", template=template.socket)

    await ask(lane, POISON)

    assert lane.keeper.last_failure == "ended with status 3"


async def test_what_it_started_ends_with_it(start_lane: StartLane, template: Template) -> None:
    lane = await start_lane("Parent", template=template.socket)
    child = (await ask(lane, 1))["child"]

    await ask(lane, POISON)

    await eventually(lambda: not alive(child), "the worker's child is gone")


async def test_a_killed_template_costs_no_worker_and_its_successors_are_started_plainly(
    start_lane: StartLane, template: Template
) -> None:
    lane = await start_lane("Surroundings", template=template.socket)
    first = await ask(lane, 1)

    template.kill()
    second = await ask(lane, 1)
    os.kill(second["pid"], signal.SIGKILL)
    third = await ask(lane, 1)

    assert first["pid"] == second["pid"]
    assert third["parent"] == os.getpid()
    assert lane.keeper.last_failure == "ended, and its template cannot tell how"


async def test_a_stopped_template_delays_nobodys_end(
    start_lane: StartLane, template: Template
) -> None:
    lane = await start_lane("Echo", template=template.socket)
    pid = lane.keeper.workers[0].pid

    template.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.wait_for(lane.stop(), DEADLINE_SECONDS)
        assert pid is not None
        assert not alive(pid)
    finally:
        template.process.send_signal(signal.SIGCONT)


async def test_a_busy_worker_dies_with_its_host_though_that_is_not_its_parent(
    tmp_path: Path, template: Template
) -> None:
    write_spec(service("Hangs", template=template.socket), tmp_path / "spec.json")
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "minion.host", "--spec", str(tmp_path / "spec.json")),
        *("--address", f"unix:{tmp_path / 'host.sock'}"),
        cwd=ROOT,
    )
    async with client_of(tmp_path / "host.sock") as client:
        await eventually((tmp_path / "host.sock").exists, "the host listens")
        await ready(client)
        asked = asyncio.create_task(infer(client, [POISON]))

        async def busy() -> bool:
            return bool((await status(client))["workers"][0]["state"] == "busy")

        await eventually(busy, "the worker hangs")
        worker = (await status(client))["workers"][0]["pid"]
        host.kill()
        await host.wait()
        with contextlib.suppress(Exception):
            await asked

    await eventually(lambda: not alive(worker), "the worker is gone")
    assert template.process.poll() is None


async def test_a_template_dies_with_its_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "template.sock"
    started = (
        "import os, subprocess, sys, time\n"
        "words = [str(os.getpid()) if word == 'PARENT' else word for word in sys.argv[1:]]\n"
        "print(subprocess.Popen(words).pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    words = [word if word != str(os.getpid()) else "PARENT" for word in command(path, "colorsys")]
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", started, *words),
        stdout=asyncio.subprocess.PIPE,
        env=worker_environment(os.environ, threads=1),
        cwd=ROOT,
    )
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.readline())
    await eventually(path.exists, "the template listens")
    await asyncio.to_thread(refused, str(path), b"?")  # it has imported, and serves

    supervisor.kill()
    await supervisor.wait()

    await eventually(lambda: not alive(pid), "the template is gone")


def test_a_template_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "template.sock"

    done = subprocess.run(command(path, "colorsys", parent=os.getppid()), cwd=ROOT, check=False)

    assert done.returncode == 1
    assert not path.exists()


# Those that cannot be one.


def unfit(tmp_path: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tmp_path / "template.sock", *modules),
        env={**worker_environment(os.environ, threads=1), "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


def test_a_module_that_starts_a_thread_makes_no_template(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )

    done = unfit(tmp_path, "threaded")

    assert done.returncode == UNFIT_STATUS
    assert "no template for threaded: importing started threads, there are 2" in done.stderr


def test_a_module_that_cannot_be_imported_makes_no_template(tmp_path: Path) -> None:
    done = unfit(tmp_path, "nowhere_to_be_found")

    assert done.returncode == UNFIT_STATUS
    assert "No module named 'nowhere_to_be_found'" in done.stderr


# Whoever waits for one.


def test_what_a_killed_predecessor_left_does_not_keep_a_template_from_listening(
    tmp_path: Path,
) -> None:
    path = tmp_path / "template.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as predecessor:
        predecessor.bind(f"{path}.new")

    with started(path, "colorsys") as template:
        assert alive(template.pid)


async def test_stopping_while_a_template_imports_leaves_nothing(
    start_lane: StartLane, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as template:
        template.bind(str(tmp_path / "template.sock"))
        template.listen()
        template.setblocking(False)
        lane = await start_lane("Echo", wait=False, template=str(tmp_path / "template.sock"))
        asked, _ = await asyncio.get_running_loop().sock_accept(template)

        with asked:
            await asyncio.wait_for(lane.stop(), DEADLINE_SECONDS)

    assert lane.keeper.workers[0].pid is None


async def test_a_host_that_no_longer_waits_gets_no_worker(
    start_lane: StartLane, template: Template
) -> None:
    lifeline, ours = os.pipe()
    kept, theirs = socket.socketpair()  # another worker's, by now
    with kept, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as host:
        host.connect(template.socket)
        template.process.send_signal(signal.SIGSTOP)
        descriptors = [theirs.fileno(), theirs.fileno(), lifeline, 1, 2]
        socket.send_fds(host, [encode(Fork("/nowhere", {}))], descriptors)
        os.close(lifeline)
        os.close(ours)
        template.process.send_signal(signal.SIGCONT)

        lane = await start_lane("Echo", template=template.socket)

        worker = lane.keeper.workers[0].pid
        await eventually(
            lambda: children(template.pid) == {worker}, "the living host alone has one"
        )


@pytest.mark.parametrize(
    "packet", [b"?", encode(Fork("/", {}))], ids=["nonsense", "no descriptors"]
)
async def test_nonsense_does_not_disturb_a_template(
    start_lane: StartLane, template: Template, packet: bytes
) -> None:
    await asyncio.to_thread(refused, template.socket, packet)

    told: Any = await ask(await start_lane("Surroundings", template=template.socket), 1)

    assert told["parent"] == template.pid
