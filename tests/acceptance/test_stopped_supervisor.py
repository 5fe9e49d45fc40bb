"""The supervisor carries no request: when it stands still, nobody waits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.acceptance.platform import EXAMPLES, Platform, eventually, running

LEASE_SECONDS = 1.0


def ask(platform: Platform) -> int:
    answer = platform.client.post("/models/noop/infer", json={"inputs": {"x": [1.0]}})
    return answer.status_code


def test_a_stopped_supervisor_costs_nobody_an_answer_for_longer_than_leases_last_in_real_time(
    tmp_path: Path,
) -> None:
    settings = {"lease_ttl": str(LEASE_SECONDS), "poll_interval": "0.1"}
    with running(tmp_path / "home", [EXAMPLES / "noop"], settings=settings) as platform:
        os.kill(platform.process.pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + 3 * LEASE_SECONDS
            stopped = [ask(platform) for _ in iter(lambda: time.monotonic() < end, False)]
        finally:
            os.kill(platform.process.pid, signal.SIGCONT)
        end = time.monotonic() + LEASE_SECONDS
        awake = [ask(platform) for _ in iter(lambda: time.monotonic() < end, False)]
        eventually(platform.ready, within=5, what="the supervisor's own work")

    assert set(stopped) == {200}
    assert set(awake) == {200}
