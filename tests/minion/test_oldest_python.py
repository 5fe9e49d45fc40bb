"""What lives in the models' environments runs on the oldest Python that a model may bring."""

from __future__ import annotations

import ast
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from envs.builder import EnvironmentStore
from envs.spec import SpecError, resolve
from minion.host.lane import Lane
from tests.minion.service import POISON, ask_all

OLDEST = (3, 9)
ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for place in ("wire", "minion/model.py", "minion/worker", "minion/frameworks")
    for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).glob("*.py"))
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_its_syntax_is_old_enough(file: Path) -> None:
    assert ast.parse(file.read_text(), feature_version=OLDEST)


async def test_a_worker_runs_on_it(
    start_lane: Callable[..., Awaitable[Lane]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        spec = resolve(".".join(map(str, OLDEST)), None)
    except SpecError as error:
        pytest.skip(f"no Python {OLDEST} on this machine: {error}")
    store = EnvironmentStore(tmp_path_factory.mktemp("home") / "envs")
    environment = store.ensure(spec, progress=print)

    lane = await start_lane("Refuses", python=str(environment.python))
    answers = await ask_all(lane, 1, POISON)

    assert answers[0]["x"] == 1
    assert answers[1].code == "unlucky"
