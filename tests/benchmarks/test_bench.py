from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench import refuse_failures
from benchmarks.peers.measure import Figures, figures
from benchmarks.peers.serving import Contestant
from benchmarks.processes import Tree, free_port
from benchmarks.requests import NUMBER, Request


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Contestant]:
    """Lives, and listens to nobody."""
    tree = Tree(["sleep", "60"], log=tmp_path / "log", variables={}, folder=tmp_path)
    yield Contestant("deaf", f"http://127.0.0.1:{free_port()}", Request("/", NUMBER, {}), tree, 0.0)
    tree.stop()


def test_who_answers_nothing_is_not_cheap(deaf: Contestant) -> None:
    found = figures(deaf, 2, 1.0)

    assert found == Figures(0.0, math.inf, math.inf, math.inf, 2)


def test_a_run_in_which_requests_failed_has_no_ratios() -> None:
    sound, failing = Figures(100.0, 0.1, 1.0, 2.0, 0), Figures(100.0, 0.1, 1.0, 2.0, 7)

    refuse_failures("w1", {("aiohttp", 64): sound})
    with pytest.raises(SystemExit, match="w1: demitasse failed 7 requests at 64"):
        refuse_failures("w1", {("aiohttp", 64): sound, ("demitasse", 64): failing})
