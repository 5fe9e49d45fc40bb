"""Coordinators are replaced and platforms stopped under load, and nobody notices who was let in.

`make restarts` does it often, at 70 % of what the machine can do, and prints counts.
"""

from __future__ import annotations

import collections
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.callers import REFUSED, RIGHT, calling
from tests.acceptance.platform import EXAMPLES, Platform, demitasse, eventually, kill, running

RESTARTS, STOPS = int(os.environ.get("RESTARTS", "3")), int(os.environ.get("STOPS", "5"))
LOAD = float(os.environ.get("LOAD", "0.3"))
#: `drain_grace`, and what hosts and workers take to end.
GRACE_SECONDS = 10.0


@pytest.mark.parametrize("processes", [1, 2])
def test_coordinators_are_replaced_under_load_and_no_request_is_refused_or_lost(
    tmp_path: Path, processes: int
) -> None:
    seconds = []
    with (
        running(tmp_path / "home", [EXAMPLES / "noop"], processes=processes) as platform,
        calling(platform.url, load=LOAD) as seen,
    ):
        for _ in range(RESTARTS):
            before = {each["pid"] for each in platform.of("coordinator")}
            began = time.monotonic()
            demitasse("restart", home=platform.home)
            seconds.append(time.monotonic() - began)
            after = {each["pid"] for each in platform.of("coordinator")}
            assert not before & after
            assert len(after) == processes

    print(
        f"\n{RESTARTS} restarts of {processes}, {seen.rate:.0f} requests/s ({LOAD:.0%}): "
        f"{seen.counts}, slowest {seen.slowest:.2f} s; a restart took "
        f"{sorted(seconds)[len(seconds) // 2]:.1f} s, at most {max(seconds):.1f} s"
    )
    assert seen.counts[RIGHT] > 0
    assert not seen.other_than(RIGHT)


def test_a_platform_that_is_stopped_under_load_answers_all_that_it_has_let_in(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with running(home, [EXAMPLES / "noop"]) as platform:
        with calling(platform.url, load=LOAD) as seen:
            pass
        rate = seen.rate / LOAD
    total: collections.Counter[str] = collections.Counter()
    seconds = []
    for number in range(STOPS):
        platform = Platform(home)
        try:
            eventually(platform.models_ready, within=60, what="the API")
            with calling(platform.url, load=LOAD, rate=rate) as seen:
                time.sleep(0.2 + 0.1 * (number % 5))  # at another moment each time
                began = time.monotonic()
                platform.process.send_signal(signal.SIGTERM)
                assert platform.process.wait(GRACE_SECONDS) == 0, platform.output()
                seconds.append(time.monotonic() - began)
        finally:
            platform.stop()
        total.update(seen.counts)
        if number % 10 == 9:
            print(f"\n{number + 1} times SIGTERM: {dict(total)}", flush=True)

    print(
        f"\n{STOPS} times SIGTERM at {seen.rate:.0f} requests/s ({LOAD:.0%}): {dict(total)}; "
        f"exit 0 after {sorted(seconds)[len(seconds) // 2]:.2f} s, at most {max(seconds):.2f} s"
    )
    assert total[RIGHT] > 0
    assert not {saw: count for saw, count in total.items() if saw not in (RIGHT, REFUSED)}


def test_a_coordinator_is_killed_and_nobody_who_connects_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "home", [EXAMPLES / "noop"]) as platform:
        [coordinator] = platform.of("coordinator")
        with calling(platform.url, load=0.1) as seen:
            kill(coordinator["pid"])
            replaced(platform, coordinator["pid"])

    print(f"\none killed: {seen.counts}, slowest {seen.slowest:.2f} s")
    assert REFUSED not in seen.counts


def test_who_connects_to_the_place_of_a_coordinator_that_stands_still_is_answered_by_another(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "home", [EXAMPLES / "noop"], processes=2) as platform:
        stopped = platform.of("coordinator")[0]["pid"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            with calling(platform.url, load=1.0, rate=50) as seen:
                time.sleep(2.0)
        finally:
            os.kill(stopped, signal.SIGCONT)

    print(f"\none of two stands still: {seen.counts}, slowest {seen.slowest:.2f} s")
    assert seen.counts[RIGHT] > 50
    assert not seen.other_than(RIGHT)


def replaced(platform: Platform, pid: int) -> None:
    eventually(
        lambda: all(each["pid"] not in (None, pid) for each in platform.of("coordinator")),
        within=20,
        what="another coordinator",
    )
