"""Three models of 0.1, 0.3 and 2 s, on the whole platform: answered on time with what is ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.platform import PHOTO, Platform, running
from tests.packages import written

SECONDS = {"quick": 0.1, "middling": 0.3, "slow": 2.0}
TIMEOUT_SECONDS = 0.5
#: What the caller sees of the timeout, at most: a network and a client come on top.
ON_TIME_SECONDS = 0.52
ROUNDS = 5
PENDING = {"version": "1.0.0", "pending": True}

MODEL = """
import time

from minion.model import Model

class Arithmetic(Model):
    def load(self, context):
        self.seconds = context.options["seconds"]

    def predict(self, batch):
        time.sleep(self.seconds)
        return [{"seconds": self.seconds} for _ in range(batch.size)]

    def warmup(self, batch):
        pass
"""


def manifest(name: str, seconds: float) -> str:
    return f"""
name = "{name}"
version = "1.0.0"
entry = "{name}:Arithmetic"
analyze = true
[input.image]
dtype = "uint8"
shape = [8, 8, 3]
resize = "stretch"
[output.seconds]
type = "number"
[options]
seconds = {seconds}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("packages")
    packages = [
        written(folder, name, manifest(name, seconds), MODEL) for name, seconds in SECONDS.items()
    ]
    with running(tmp_path_factory.mktemp("partial"), packages) as platform:
        yield platform


def ask(platform: Platform, **query: Any) -> tuple[float, httpx.Response]:
    """Seconds and answer, as a caller sees them."""
    started = time.monotonic()
    answer = platform.client.post(
        "/analyze",
        params=query,
        content=PHOTO.read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    )
    return time.monotonic() - started, answer


def entries(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["images"][0]["models"])


def test_at_its_deadline_two_results_and_one_pending(platform: Platform) -> None:
    asked = [ask(platform, timeout=TIMEOUT_SECONDS) for _ in range(ROUNDS)]

    for _, answer in asked:
        models = entries(answer)
        assert models["quick"]["output"] == {"seconds": 0.1}
        assert models["middling"]["output"] == {"seconds": 0.3}
        assert models["slow"] == PENDING
    assert statistics.median(seconds for seconds, _ in asked) <= ON_TIME_SECONDS, asked


def test_with_the_slow_one_required_a_504_that_names_it(platform: Platform) -> None:
    asked = [ask(platform, timeout=TIMEOUT_SECONDS, require="slow") for _ in range(ROUNDS)]

    for _, answer in asked:
        assert (answer.status_code, answer.json()["model"]) == (504, "slow")
    assert statistics.median(seconds for seconds, _ in asked) <= ON_TIME_SECONDS, asked


def test_with_the_slow_one_optional_an_answer_as_soon_as_the_others_have(
    platform: Platform,
) -> None:
    asked = [ask(platform, timeout=30, optional="slow") for _ in range(ROUNDS)]

    for _, answer in asked:
        models = entries(answer)
        assert models["middling"]["output"] == {"seconds": 0.3}
        assert models["slow"] == PENDING
    assert 0.3 <= statistics.median(seconds for seconds, _ in asked) < SECONDS["slow"] / 2, asked


def test_with_time_enough_everything_is_answered(platform: Platform) -> None:
    _, answer = ask(platform, timeout=30)

    assert {name: each["output"]["seconds"] for name, each in entries(answer).items()} == SECONDS
