"""Another command has a platform that runs do something."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from deploy.control import Act, Refused, Say, order, taking_orders
from deploy.status import run_folder


async def heard(home: Path, wanted: str) -> list[str]:
    return await asyncio.to_thread(lambda: list(order(home, wanted)))


async def brew(say: Say) -> None:
    say("grinding")
    say("pouring")


async def refuse(say: Say) -> None:
    raise Refused("no beans")


ACTS: dict[str, Act] = {"brew": brew, "refuse": refuse}


async def test_what_is_said_comes_back_until_it_is_done(tmp_path: Path) -> None:
    async with taking_orders(run_folder(tmp_path), ACTS):
        assert await heard(tmp_path, "brew") == ["grinding", "pouring"]


async def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with taking_orders(run_folder(tmp_path), ACTS):
        with pytest.raises(Refused, match="no beans"):
            await heard(tmp_path, "refuse")


async def test_what_fails_in_a_way_that_nobody_expects_is_said(tmp_path: Path) -> None:
    async def spill(say: Say) -> None:
        raise OSError("the cup is full")

    async with taking_orders(run_folder(tmp_path), {"spill": spill}):
        with pytest.raises(Refused, match="it failed: OSError: the cup is full"):
            await heard(tmp_path, "spill")


async def test_what_is_not_understood_is_refused(tmp_path: Path) -> None:
    async with taking_orders(run_folder(tmp_path), ACTS):
        with pytest.raises(Refused, match="'dance' is not understood"):
            await heard(tmp_path, "dance")


async def test_where_nothing_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nothing runs on"):
        await heard(tmp_path, "brew")
    async with taking_orders(run_folder(tmp_path), ACTS):
        pass
    with pytest.raises(Refused, match="start the platform with `demitasse up`"):
        await heard(tmp_path, "brew")


async def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nothing runs on"):
        await heard(tmp_path / "mistyped", "brew")

    assert not (tmp_path / "mistyped").exists()


def test_a_platform_that_is_stopped_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(run_folder(tmp_path) / "control.sock"))
        deaf.listen()

        with pytest.raises(Refused, match=r"has not answered for 0\.05 s"):
            list(order(tmp_path, "brew", answer_seconds=0.05))


async def test_whoever_waits_when_the_platform_is_stopped_is_told(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def never(say: Say) -> None:
        began.set()
        await asyncio.Event().wait()

    async with taking_orders(run_folder(tmp_path), {"wait": never}):
        asking = asyncio.create_task(heard(tmp_path, "wait"))
        await began.wait()
    with pytest.raises(Refused, match="the platform is being stopped"):
        await asking
