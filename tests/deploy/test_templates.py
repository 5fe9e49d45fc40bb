"""Which templates there are, and which no more. Real processes; Python itself is the framework."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.premises import Premises
from deploy.status import ProcessInfo
from deploy.templates import TemplateKey, Templates
from tests.minion.service import DEADLINE_SECONDS
from tests.processes import alive
from tests.waiting import eventually

ONE = TemplateKey(sys.executable, ("colorsys",))
OTHER = TemplateKey(sys.executable, ("fractions",))
NUMPY = TemplateKey(sys.executable, ())
THIRD = TemplateKey(sys.executable, ("statistics",))
UNFIT = TemplateKey(sys.executable, ("nowhere_to_be_found",))


class Site:
    """Where the templates of a test keep their sockets and logs."""

    def __init__(self, folder: Path) -> None:
        self.premises = Premises(folder)
        self._bell = asyncio.Event()

    def changed(self) -> None:
        self._bell.set()

    def logs(self) -> str:
        return "".join(
            log.read_text() for log in self.premises.log_path("any").parent.glob("*.log")
        )

    async def until(self, templates: Templates, *states: str) -> list[ProcessInfo]:
        """Waits until the templates have these states."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while [each.state for each in templates.processes()] != list(states):
                self._bell.clear()
                await self._bell.wait()
        return templates.processes()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
async def templates(site: Site) -> AsyncIterator[Templates]:
    templates = Templates(site, limit=2)
    yield templates
    await templates.keep([])


def listens(path: str | None) -> bool:
    assert path is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        return probe.connect_ex(path) == 0  # refused, or there is no such path


async def test_one_serves_all_who_ask_for_the_same(site: Site, templates: Templates) -> None:
    first, second = templates.socket(ONE), templates.socket(ONE)

    [told] = await site.until(templates, "running")

    assert first == second
    await eventually(lambda: listens(first), "the template listens")
    assert (told.role, told.detail) == ("template", "colorsys")
    assert told.pid is not None
    assert alive(told.pid)


async def test_what_nobody_needs_any_more_goes_and_the_rest_stays(
    site: Site, templates: Templates
) -> None:
    kept, gone = templates.socket(ONE), templates.socket(OTHER)
    before = await site.until(templates, "running", "running")
    await eventually(lambda: listens(kept) and listens(gone), "both listen")

    await templates.keep({ONE, None})

    assert [each.pid for each in templates.processes()] == [before[0].pid]
    assert listens(kept)
    assert not listens(gone)
    assert before[1].pid is not None
    assert not alive(before[1].pid)


async def test_past_the_limit_there_is_one_as_soon_as_another_has_gone(
    site: Site, templates: Templates
) -> None:
    templates.socket(ONE)
    templates.socket(OTHER)
    promised = templates.socket(THIRD)
    assert len(templates.processes()) == 2
    assert not listens(promised)

    await templates.keep({ONE, THIRD, None})

    await eventually(lambda: listens(promised), "it listens where it was promised")
    assert [each.detail for each in templates.processes()] == ["colorsys", "statistics"]


async def test_numpy_alone_gives_way_to_a_framework_and_to_nothing_else(
    site: Site, templates: Templates
) -> None:
    light = templates.socket(NUMPY)
    templates.socket(ONE)
    before = await site.until(templates, "running", "running")
    assert [each.detail for each in before] == ["numpy", "colorsys"]
    await eventually(lambda: listens(light), "it listens")

    promised = templates.socket(THIRD)
    templates.socket(OTHER)
    templates.socket(NUMPY)
    await templates.keep({NUMPY, ONE, THIRD, OTHER, None})

    assert [each.detail for each in templates.processes()] == ["colorsys", "statistics"]
    await eventually(lambda: listens(promised), "it listens where it was promised")
    assert not listens(light)
    assert before[0].pid is not None
    assert not alive(before[0].pid)


async def test_one_that_can_never_be_one_takes_no_room(site: Site, templates: Templates) -> None:
    templates.socket(UNFIT)
    templates.socket(NUMPY)
    await site.until(templates, "failed", "running")

    templates.socket(ONE)
    await site.until(templates, "failed", "running", "running")

    assert [each.detail for each in templates.processes()][1:] == ["numpy", "colorsys"]


async def test_one_that_comes_while_its_predecessor_goes_listens_at_the_same_place(
    site: Site, templates: Templates
) -> None:
    path = templates.socket(ONE)
    await eventually(lambda: listens(path), "it listens")

    going = asyncio.create_task(templates.keep([]))
    await asyncio.sleep(0)  # it has begun
    assert templates.processes() == []
    assert templates.socket(ONE) == path
    await going

    await eventually(lambda: listens(path), "its successor listens")


async def test_where_there_shall_be_none_nobody_is_sent_to_one(site: Site) -> None:
    assert Templates(site, limit=0).socket(ONE) is None


async def test_one_that_is_killed_is_started_again_at_its_place(
    site: Site, templates: Templates
) -> None:
    path = templates.socket(ONE)
    [first] = await site.until(templates, "running")
    await eventually(lambda: listens(path), "it listens")

    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    await site.until(templates, "restarting")
    [second] = await site.until(templates, "running")

    await eventually(lambda: listens(path), "its successor listens")
    assert second.pid != first.pid


async def test_one_that_can_never_be_one_is_not_tried_again(
    site: Site, templates: Templates
) -> None:
    path = templates.socket(UNFIT)

    [told] = await site.until(templates, "failed")

    assert told.pid is None
    assert "nowhere_to_be_found" in told.detail
    assert not listens(path)
    assert site.logs().count("No module named 'nowhere_to_be_found'") == 1
