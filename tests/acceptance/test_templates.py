"""Frameworks are imported once per environment; workers come from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.platform import PHOTO, Platform, eventually, kill
from tests.processes import alive


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def analyze(platform: Platform, model: str) -> Any:
    answer = httpx.post(
        f"{platform.url}/analyze",
        params={"models": model, "require": model},
        files={"image": PHOTO.read_bytes()},
        timeout=60,
    )
    return answer.raise_for_status().json()["images"][0]["models"][model]["output"]


def template(platform: Platform, framework: str) -> dict[str, Any]:
    [found] = [each for each in platform.of("template") if framework in each["detail"]]
    return found


def worker(platform: Platform, model: str) -> int:
    """Of the model's only worker, that is ready."""

    def pid() -> int | None:
        idle = [each["pid"] for each in platform.of("worker", model) if each["state"] == "idle"]
        return idle[0] if idle else None

    found = eventually(pid, within=30, what=f"a worker of {model}")
    assert found is not None
    return found


def test_a_worker_of_a_framework_comes_from_its_template(everything: Platform) -> None:
    for model, framework in (("tagger", "torch"), ("aesthetics", "keras")):
        assert parent(worker(everything, model)) == template(everything, framework)["pid"]


def test_two_models_of_one_environment_share_a_template(everything: Platform) -> None:
    parents = {parent(worker(everything, model)) for model in ("caption", "caption-frozen")}

    assert parents == {template(everything, "tensorflow")["pid"]}


def test_a_worker_without_a_framework_comes_from_a_template_with_numpy_alone(
    everything: Platform,
) -> None:
    its = parent(worker(everything, "noop"))

    [found] = [each for each in everything.of("template") if each["pid"] == its]
    assert found["detail"] == "numpy"


def test_a_template_and_then_its_worker_are_killed_and_the_model_answers_as_before(
    everything: Platform,
) -> None:
    before = analyze(everything, "tagger")
    first, forked = template(everything, "torch")["pid"], worker(everything, "tagger")

    kill(first)
    eventually(lambda: not alive(first), within=5, what="the template's end")
    without = analyze(everything, "tagger")
    kill(forked)
    after = analyze(everything, "tagger")

    assert before == without == after
    eventually(
        lambda: template(everything, "torch")["pid"] not in (None, first),
        within=30,
        what="another template",
    )
    eventually(
        lambda: worker(everything, "tagger") != forked,
        within=30,
        what="another worker in the list",
    )
