"""What workers may take, what they leave behind, and how they are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minion.host import keeper
from minion.host.keeper import Keeper
from minion.host.lane import Lane
from minion.host.limits import MAX_OPEN_FILES, SOFT_PART, soft_limit
from minion.host.starts import Starts
from minion.host.temporary import clear, is_empty, is_over, make_folder, remove_folder
from minion.host.workers import State
from tests.minion.service import POISON, Gate, ask, ask_all, service
from tests.minion.templates import ROOT, Template
from tests.minion.test_host import infer, process, ready, status
from tests.processes import alive, children
from tests.waiting import eventually

StartLane = Callable[..., Awaitable[Lane]]
HOSTILE = Path(__file__).parents[1] / "acceptance" / "models" / "hostile"
MEGABYTE = 2**20
UNLIMITED = -1


def hostile(**changes: Any) -> dict[str, Any]:
    return {"model": "Echo", "directory": str(HOSTILE), "entry": "hostile:Hostile", **changes}


async def do(lane: Lane, what: str, amount: int = 0) -> Any:
    told = await ask(lane, 1, do=what, amount=amount)
    return told["told"] if isinstance(told, dict) else told


async def restarts(lane: Lane) -> int:
    """When the place of the worker that ended last has another."""
    await eventually(lambda: lane.keeper.ready() == 1, "another follows")
    return lane.keeper.restarts


# Limits.


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
async def test_a_worker_has_limits_that_it_cannot_raise(start_lane: StartLane, device: str) -> None:
    lane = await start_lane(
        **hostile(memory_bytes=512 * MEGABYTE, temporary_bytes=64 * MEGABYTE, device=device)
    )
    data = 512 * MEGABYTE if device == "cpu" else UNLIMITED

    assert await do(lane, "limits") == [
        *(1, 1, MAX_OPEN_FILES, MAX_OPEN_FILES, 64 * MEGABYTE, 64 * MEGABYTE, data, data)
    ]


async def test_one_from_a_template_has_the_same(
    start_lane: StartLane,
    template: Template,
) -> None:
    changes = hostile(memory_bytes=512 * MEGABYTE)
    plain = await start_lane(**changes)
    forked = await start_lane(**changes, template=template.socket)

    assert await do(forked, "limits") == await do(plain, "limits")


async def test_who_wants_more_memory_than_there_may_be_meets_a_memory_error(
    start_lane: StartLane,
) -> None:
    lane = await start_lane(**hostile(memory_bytes=256 * MEGABYTE))
    first = lane.keeper.workers[0].pid

    [megabytes] = await do(lane, "hold", 1000)

    assert 50 < megabytes < 256
    assert lane.keeper.restarts == 0
    await eventually(lambda: lane.keeper.replaced == 1, "it is replaced, since it holds that much")
    assert (await do(lane, "nothing")) != [first]


async def test_workers_that_are_full_soon_after_loading_are_replaced_ever_more_slowly(
    start_lane: StartLane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "demitasse.host.keeper")
    lane = await start_lane(**hostile(memory_bytes=256 * MEGABYTE))

    for number in range(1, 4):
        await do(lane, "hold", 1000)
        await eventually(lambda n=number: lane.keeper.replaced == n, "it is replaced")

    told = [text.rpartition(" in ")[2] for text in caplog.messages if "soon after" in text]
    assert told == ["0.1 s", "0.2 s", "0.4 s"]


async def test_without_a_limit_on_addresses_one_that_holds_too_much_is_ended(
    start_lane: StartLane,
) -> None:
    lane = await start_lane(**hostile(memory_bytes=128 * MEGABYTE, device="cuda:0"))

    await do(lane, "hold", 200)

    await eventually(lambda: lane.keeper.restarts == 1, "it is ended")
    assert lane.keeper.last_failure is not None
    assert lane.keeper.last_failure.endswith(f"and may hold {128 * MEGABYTE}")


def test_a_worker_is_replaced_when_most_of_its_memory_is_used() -> None:
    assert soft_limit(1000, loaded_bytes=100) == SOFT_PART * 1000


def test_one_that_holds_most_of_it_from_the_beginning_is_left_the_half_of_what_remains() -> None:
    assert soft_limit(1000, loaded_bytes=900) == 950


# The temporary folder.


async def test_every_worker_has_a_temporary_folder_and_it_goes_with_it(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane(**hostile(temporary=str(tmp_path), workers=2))
    await eventually(lambda: lane.keeper.ready() == 2, "both are ready")
    folders = {worker.temporary for worker in lane.keeper.workers}

    told = "".join(map(chr, await do(lane, "scratch")))

    assert told in folders
    assert set(os.listdir(tmp_path)) == {Path(folder).name for folder in folders}
    await lane.stop()
    assert not os.listdir(tmp_path)


async def test_who_fills_it_is_ended(start_lane: StartLane, tmp_path: Path) -> None:
    lane = await start_lane(**hostile(temporary=str(tmp_path), temporary_bytes=8 * MEGABYTE))

    answer = await do(lane, "fill")

    assert answer.code == "worker-crashed"
    assert await restarts(lane) == 1, "nobody else can have filled it"
    assert lane.keeper.last_failure == f"its temporary folder has more than {8 * MEGABYTE} bytes"


async def test_who_fills_it_where_others_were_before_may_be_innocent(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane(**hostile(temporary=str(tmp_path), temporary_bytes=8 * MEGABYTE))
    await do(lane, "nothing")

    answer = await do(lane, "fill")

    assert answer.code == "worker-crashed"
    assert await restarts(lane) == 2


async def test_who_fills_it_where_loading_left_something_may_be_innocent_three_times(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane("Litters", temporary=str(tmp_path), temporary_bytes=8 * MEGABYTE)

    answer = await ask(lane, POISON)

    assert answer.code == "worker-crashed"
    assert await restarts(lane) == 3


async def test_while_one_is_busy_somebody_looks_more_often(
    start_lane: StartLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "WATCH_SECONDS", 3600.0)
    lane = await start_lane(**hostile(temporary=str(tmp_path), temporary_bytes=8 * MEGABYTE))

    answer = await do(lane, "fill")

    assert answer.code == "worker-crashed"


async def test_a_lane_stops_in_the_moment_in_which_somebody_is_to_look(
    start_lane: StartLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BUSY_WATCH_SECONDS", 0.0)
    lane = await start_lane(**hostile())
    [worker] = lane.keeper.workers
    for _ in range(10):
        await asyncio.sleep(0)  # whoever looks waits for the next time

    worker.on_watch()
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await lane.stop()


async def test_who_has_ended_has_ended_for_one_reason(start_lane: StartLane) -> None:
    lane = await start_lane(**hostile())
    [worker] = lane.keeper.workers

    worker.end("the first")
    worker.end("the second")

    assert worker.failure == "the first"


async def test_no_file_is_longer_than_all_of_it(start_lane: StartLane) -> None:
    lane = await start_lane(**hostile(temporary_bytes=4 * MEGABYTE))

    assert await do(lane, "one_file", 10) == [4]


def test_whether_nothing_is_in_a_folder(tmp_path: Path) -> None:
    empty = is_empty(str(tmp_path))
    (tmp_path / "left").touch()

    assert empty
    assert not is_empty(str(tmp_path))
    assert not is_empty(str(tmp_path / "gone"))


def test_many_small_files_count_too_and_a_link_leads_nowhere(tmp_path: Path) -> None:
    folder = Path(make_folder(str(tmp_path)))
    for number in range(300):
        (folder / str(number)).touch()
    (folder / "link").symlink_to("/")

    assert is_over(str(folder), MEGABYTE)
    assert not is_over(str(folder), 2 * MEGABYTE)


def test_removing_it_follows_no_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o500)
    (folder := Path(make_folder(str(tmp_path)))).joinpath("link").symlink_to(other)

    remove_folder(str(folder))

    assert not folder.exists()
    assert other.stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize("away", [remove_folder, clear])
def test_one_that_nobody_may_open_is_emptied_too(
    tmp_path: Path, away: Callable[[Path], None]
) -> None:
    """For root it is as any other."""
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    inner.parent.chmod(0)

    away(inner.parent)

    assert not inner.exists()
    assert inner.parent.exists() == (away is clear)


# What they leave.


@pytest.mark.parametrize("forked", [False, True], ids=["started plainly", "from a template"])
async def test_what_a_worker_has_started_and_left_ends_with_it(
    tmp_path: Path,
    template: Template,
    forked: bool,
) -> None:
    spec = service(**hostile(template=template.socket if forked else None))
    async with process(tmp_path, spec) as (_, client):
        await ready(client)
        _, answer = await infer(client, [1], do="fork")
        left = answer["output"]["told"]
        assert all(map(alive, left))

        os.kill((await status(client))["workers"][0]["pid"], signal.SIGKILL)

        await eventually(lambda: not any(map(alive, left)), "all three are gone")
        await eventually(lambda: not zombies_of(template.pid), "the template has waited for them")
        code, _ = await infer(client, [1])
        assert code == 200


async def test_nothing_is_left_when_a_host_stops(tmp_path: Path) -> None:
    spec = service(**hostile(temporary=str(tmp_path / "t")))
    async with process(tmp_path, spec) as (host, client):
        await ready(client)
        _, answer = await infer(client, [1], do="fork")

        host.send_signal(signal.SIGTERM)
        await asyncio.wait_for(host.wait(), 20)

    assert not any(map(alive, answer["output"]["told"]))
    assert not os.listdir(tmp_path / "t")


def zombies_of(pid: int) -> list[int]:
    return [child for child in children(pid) if not alive(child)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can have a child that it may not kill")
@pytest.mark.parametrize("who", ["host", "template"])
def test_what_cannot_be_ended_is_waited_for_with_patience(who: str) -> None:
    """The process that ends orphans gives root up; its orphan does not."""
    ends = {
        "host": "children = Children(); children.adopt(); asyncio.run(children.end_orphans())",
        "template": "Template(socket.socketpair()[0])._end_orphans()",
    }
    gives_up = (
        "import asyncio, os, socket, subprocess, sys\n"
        "from minion.host.children import Children\n"
        "from minion.worker.template import Template\n"
        "orphan = subprocess.Popen(['sleep', '3600'], stdout=subprocess.DEVNULL)\n"
        "print(orphan.pid, flush=True)\n"
        "os.setuid(65534)\n"
        f"{ends[who]}\n"
        "print('gave up', flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", gives_up], cwd=ROOT, stdout=subprocess.PIPE, timeout=60
    )
    orphan, *said = done.stdout.decode().splitlines()
    try:
        assert said == ["gave up"]
        assert alive(int(orphan))
    finally:
        os.kill(int(orphan), signal.SIGKILL)


@pytest.mark.parametrize("who", ["host", "template"])
def test_nobody_is_left_stopped_where_there_was_no_time_to_end_all_of_them(who: str) -> None:
    """The process that ends orphans has a moment for it; all twenty are killed all the same."""
    ends = {
        "host": "host._PATIENCE_SECONDS = 0\n"
        "children = host.Children(); children.adopt(); asyncio.run(children.end_orphans())\n",
        "template": "template._PATIENCE_SECONDS = 0\n"
        "template.Template(socket.socketpair()[0])._end_orphans()\n",
    }
    ends_them = (
        "import asyncio, socket, subprocess\n"
        "from minion.host import children as host\n"
        "from minion.worker import template\n"
        "orphans = [subprocess.Popen(['sleep', '3600']) for _ in range(20)]\n"
        f"{ends[who]}"
        "left = []\n"
        "for orphan in orphans:\n"
        "    try: orphan.wait(5)\n"
        "    except subprocess.TimeoutExpired: left.append(orphan); orphan.kill()\n"
        "print(len(left))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ends_them], cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=True
    )

    assert done.stdout == b"0\n"


#: Has a child, a thread, and an orphan that ends when it is told to; looks until that is gone.
ADOPTS = """
import asyncio, os, subprocess, sys, threading
from minion.host.children import Children
from wire.lifetimes import children

async def main():
    family = Children()
    family.adopt()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    own = await family.start("sleep", "3600")
    heard, told = os.pipe()
    leaves = "import os; os.fork() or os.read(0, 1)"
    subprocess.run([sys.executable, "-I", "-S", "-c", leaves], stdin=heard)
    family.reap()
    print(len(children() - {own.pid}))
    os.close(heard)
    os.close(told)
    while children() != {own.pid}:
        family.reap()
        await asyncio.sleep(0.01)
    own.kill()
    print(await own.wait())

asyncio.run(main())
"""


def test_an_orphan_that_has_ended_is_waited_for_at_the_next_look_and_nobody_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ADOPTS], cwd=ROOT, stdout=subprocess.PIPE, timeout=30, check=True
    )

    assert done.stdout.split() == [b"1", b"-9"]


# Successors.


async def test_after_so_many_requests_a_worker_is_replaced_and_nobody_fails(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", max_requests=20, max_batch_size=4)
    pids = set()

    while lane.keeper.replaced < 3:
        answers = await ask_all(lane, *range(10))
        assert [answer["x"] for answer in answers] == list(range(10))
        pids |= {answer["pid"] for answer in answers}

    assert len(pids) >= 3
    assert lane.keeper.restarts == 0


async def test_the_old_one_answers_until_its_successor_has_loaded(
    start_lane: StartLane, gate: Gate
) -> None:
    gate.open_for(1)
    lane = await start_lane("GatedLoad", max_requests=1, options=gate.options)
    old = (await ask(lane, 1))["pid"]
    await eventually(lambda: len(lane.keeper.workers) == 2, "a successor is loading")

    assert [(await ask(lane, value))["pid"] for value in range(5)] == [old] * 5
    gate.open_for(1)
    await eventually(lambda: lane.keeper.replaced == 1, "they have changed places")

    assert (await ask(lane, 1))["pid"] != old
    assert not alive(old)
    gate.open_for(1)


async def test_while_they_change_places_there_is_a_worker_at_every_moment(
    start_lane: StartLane,
) -> None:
    lane = await start_lane("Echo", max_requests=1)
    ready = []

    await ask(lane, 1)
    while not lane.keeper.replaced:
        ready.append(lane.keeper.ready())
        await asyncio.sleep(0)

    assert min(ready) == 1


async def test_a_worker_in_the_middle_of_a_batch_ends_after_it(
    start_lane: StartLane, gate: Gate
) -> None:
    lane = await start_lane("Gated", options=gate.options)
    [old] = lane.keeper.workers
    running = asyncio.create_task(ask(lane, 1))
    await eventually(lambda: old.state is State.BUSY, "it runs a batch")

    old.retire()
    assert alive(old.pid or 0)
    gate.open_for(1)

    assert (await running)["pid"] == old.pid
    await eventually(lambda: not alive(old.pid or 0), "it is gone")


async def test_where_no_successor_loads_the_old_one_goes_on(
    start_lane: StartLane, tmp_path: Path
) -> None:
    lane = await start_lane("LoadsOnce", max_requests=1, options={"mark": str(tmp_path / "mark")})
    old = (await ask(lane, 1))["pid"]

    await eventually(lambda: lane.keeper.restarts >= 2, "successors were tried")

    assert (await ask(lane, 2))["pid"] == old
    assert lane.ready


# Starts.


async def keepers(start_lane: StartLane, count: int, **changes: Any) -> list[Keeper]:
    return [(await start_lane(wait=False, **changes)).keeper for _ in range(count)]


def begun(*keepers: Keeper) -> int:
    """How many workers have a process and have not loaded."""
    workers = [worker for keeper in keepers for worker in keeper.workers]
    return sum(worker.state is State.STARTING and worker.pid is not None for worker in workers)


async def test_so_many_workers_start_at_once_of_all_hosts(
    start_lane: StartLane, gate: Gate, tmp_path: Path
) -> None:
    folder = str(tmp_path / "starts")
    all = await keepers(
        start_lane,
        2,
        model="GatedLoad",
        workers=2,
        starts=3,
        starts_folder=folder,
        options=gate.options,
    )
    seen = []

    def starting_and_ready() -> tuple[int, int]:
        seen.append(begun(*all))
        return seen[-1], sum(keeper.ready() for keeper in all)

    await eventually(lambda: starting_and_ready() == (3, 0), "three start")
    gate.open_for(1)
    await eventually(lambda: starting_and_ready() == (3, 1), "the fourth starts in its place")
    gate.open_for(3)
    await eventually(lambda: starting_and_ready() == (0, 4), "all have loaded")

    assert max(seen) == 3


async def test_a_start_that_hangs_keeps_others_waiting_until_its_deadline(
    start_lane: StartLane, tmp_path: Path
) -> None:
    folder = {"starts": 1, "starts_folder": str(tmp_path / "starts")}
    [hangs] = await keepers(start_lane, 1, model="LoadsForEver", load_timeout_seconds=1.0, **folder)
    await eventually(lambda: begun(hangs) == 1, "it hangs")

    lane = await start_lane("Echo", **folder)

    assert hangs.restarts >= 1
    assert (await ask(lane, 1))["x"] == 1


async def test_where_the_folder_of_starts_is_gone_that_is_told_and_all_goes_on_when_it_is_back(
    start_lane: StartLane, tmp_path: Path
) -> None:
    folder = tmp_path / "starts"
    [keeper] = await keepers(start_lane, 1, model="Echo", starts=1, starts_folder=str(folder))
    folder.rmdir()  # before the first start was looked at
    await eventually(lambda: keeper.restarts >= 2, "it was tried, and again")
    assert keeper.last_failure == "cannot be started: No such file or directory"

    folder.mkdir()

    await eventually(lambda: keeper.ready() == 1, "the worker has loaded")


async def test_who_starts_for_long_is_waited_for_no_longer(tmp_path: Path) -> None:
    folder = str(tmp_path / "starts")
    held = await Starts(folder, 1, hold_seconds=2.0).slot()

    next = asyncio.ensure_future(Starts(folder, 1).slot())
    await asyncio.sleep(0)
    assert not next.done()

    slot = await asyncio.wait_for(next, 20)
    slot.close()
    held.close()


def test_who_died_while_it_started_is_waited_for_no_longer(tmp_path: Path) -> None:
    folder = str(tmp_path / "starts")
    takes = (
        "import asyncio, os, sys\n"
        "from minion.host.starts import Starts\n"
        "async def take():\n"
        "    slot = await Starts(sys.argv[1], 1).slot()\n"
        "    os.write(1, b'taken')\n"
        "    os._exit(0)\n"
        "asyncio.run(take())\n"
    )
    said = subprocess.check_output([sys.executable, "-c", takes, folder], cwd=ROOT, timeout=20)

    async def take() -> str:
        with contextlib.closing(await asyncio.wait_for(Starts(folder, 1).slot(), 20)):
            return "taken again"

    assert (said, asyncio.run(take())) == (b"taken", "taken again")
