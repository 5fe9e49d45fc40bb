"""A model that does its worst: a neighbour is answered all the while, and nothing is left of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.machine import socket_folder
from deploy.status import run_folder
from tests.acceptance.platform import EXAMPLES, Platform, eventually, kill, running
from tests.processes import alive

HOSTILE = Path(__file__).parent / "models" / "hostile"


class Neighbour(threading.Thread):
    """Asks the model next door, again and again, and keeps what it was told."""

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self.answers: list[int] = []
        self._url = f"{platform.url}/models/noop/infer"
        self._enough = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._enough.wait(0.01):
                answer = client.post(self._url, json={"inputs": {"x": [1.0]}})
                self.answers.append(answer.status_code)

    def stop(self) -> list[int]:
        self._enough.set()
        self.join()
        return self.answers


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("hostile")
    folder = socket_folder(run_folder(home))
    with running(home, [EXAMPLES / "noop", HOSTILE]) as platform:
        yield platform
        assert list(folder.rglob("w-*")), "the workers' temporary folders are there"
    assert not list(folder.rglob("w-*")), "none of them is left"


def do(platform: Platform, what: str, amount: int = 0) -> httpx.Response:
    body = {"inputs": {"x": [1.0]}, "parameters": {"do": what, "amount": amount}}
    return httpx.post(f"{platform.url}/models/hostile/infer", json=body, timeout=60)


def told(platform: Platform, what: str, amount: int = 0) -> list[float]:
    """What it answers; while its successor loads, that of a later try."""

    def answer() -> list[float] | None:
        got = do(platform, what, amount)
        return got.json()["output"]["told"] if got.status_code == 200 else None

    return eventually(answer, within=30, what=f"an answer to {what}")


def template(platform: Platform) -> int:
    """Of both models' workers."""

    def pid() -> int | None:
        (only,) = platform.of("template")
        return int(only["pid"]) if only["pid"] else None

    found = eventually(pid, within=30, what="the template")
    assert found is not None
    return found


def test_whatever_a_model_does_its_neighbour_is_answered_and_nothing_is_left(
    platform: Platform,
) -> None:
    neighbour = Neighbour(platform)
    neighbour.start()

    left = told(platform, "fork")
    told(platform, "print", 100)
    told(platform, "hold", 2000)
    left += told(platform, "fork")
    codes = [do(platform, what).status_code for what in ("crash", "fill")]
    told(platform, "nothing")  # or the endings might spend the budget
    codes += [do(platform, what).status_code for what in ("close", "crash")]
    left += told(platform, "fork")
    (minion,) = platform.of("minion", "hostile")
    kill(minion["pid"])
    eventually(lambda: not any(alive(int(pid)) for pid in left), within=10, what="their end")
    told(platform, "nothing")

    assert set(neighbour.stop()) == {200}
    assert 200 not in codes
    log = platform.home / "logs" / "hostile-1.0.0-0.log"
    assert log.stat().st_size < 2**20
    assert "bytes that it printed were dropped" in log.read_text()
    assert "\x1b" not in log.read_text()


def test_what_a_model_has_started_and_left_is_gone_when_the_platform_has_stopped(
    tmp_path: Path,
) -> None:
    with running(tmp_path, [HOSTILE]) as platform:
        left = told(platform, "fork")
        assert all(alive(int(pid)) for pid in left)

        platform.stop()

        assert not any(alive(int(pid)) for pid in left)


def test_what_a_killed_template_and_host_have_left_ends(platform: Platform) -> None:
    left = [int(pid) for pid in told(platform, "fork")]
    (minion,) = platform.of("minion", "hostile")

    kill(template(platform))
    kill(minion["pid"])

    eventually(lambda: not any(map(alive, left)), within=10, what="their end")


def test_a_killed_template_costs_no_worker(platform: Platform) -> None:
    def workers() -> set[int]:
        idle = (each for each in platform.of("worker") if each["state"] == "idle")
        return {each["pid"] for each in idle if each["model"] in ("hostile", "noop")}

    *_, daemon = [int(pid) for pid in told(platform, "fork")]
    eventually(lambda: len(workers()) == 2, within=30, what="a worker of each")
    before = workers()

    kill(template(platform))
    eventually(lambda: not alive(daemon), within=10, what="a look at what was adopted")
    told(platform, "nothing")

    assert all(map(alive, before))
    assert workers() == before


def test_what_a_killed_supervisor_has_left_ends_when_the_next_one_starts(tmp_path: Path) -> None:
    with running(tmp_path, [HOSTILE]) as platform:
        left = [int(pid) for pid in told(platform, "fork")]
        try:
            platform.process.kill()
            platform.process.wait()
            of_a_session, daemon = left[1:]

            successor = Platform(tmp_path)
            try:
                successor.wait_until_ready(60)
                assert not alive(of_a_session)
                assert not alive(daemon)
            finally:
                successor.stop()
        finally:
            for pid in filter(alive, left):
                kill(pid)
