"""Random faults for a while, and callers who know what is right all the time.

`make chaos` and `make chaos-long` draw a seed and print it; `CHAOS_SEED` repeats one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.acceptance.platform import Platform, running
from tests.chaos.faults import Faults
from tests.chaos.models import packages
from tests.chaos.probe import Probe, Saw, Seen

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
#: Requests a second: half of what two busy cores can do beside all that.
RATE = 40.0
CANARY = "canary-7f3a9c"
BETWEEN_SECONDS = (0.5, 2.0)
#: A connection to a coordinator that was killed ends about then.
CUT_SECONDS = 5.0
#: Of all requests. The others came while what they asked for was being started again.
ANSWERED = 0.9


async def strike(faults: Faults, seconds: float) -> None:
    draw = random.Random(SEED)
    ends = time.monotonic() + seconds
    while (pause := draw.uniform(*BETWEEN_SECONDS)) < ends - time.monotonic():
        await asyncio.sleep(pause)
        await asyncio.to_thread(faults.strike)


def unexplained(seen: Seen, faults: Faults) -> int:
    """Connections that ended without an answer although no coordinator had been killed."""
    killed = faults.coordinator_killed_at
    return sum(not any(0 <= cut - at <= CUT_SECONDS for at in killed) for cut in seen.cut_at)


def logged(platform: Platform) -> str:
    logs = (platform.home / "logs").glob("*.log")
    return "".join(log.read_text(errors="replace") for log in logs) + platform.output()


@pytest.mark.timeout(SECONDS + 240)
async def test_whatever_strikes_answers_are_right_and_refusals_say_when_to_come_back(
    tmp_path: Path,
) -> None:
    settings = {"decode_timeout": "2"}  # its workers are stopped, too
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    models = packages(tmp_path / "packages")
    with running(tmp_path / "home", models, processes=2, settings=settings) as platform:
        faults, probe = Faults(platform, SEED), Probe(platform.url, SEED, CANARY)
        await asyncio.gather(probe.ask_for(SECONDS, rate=RATE), strike(faults, SECONDS))

        await asyncio.to_thread(platform.wait_until_ready, 60)
        calm = Probe(platform.url, SEED + 1, CANARY)
        await calm.ask_for(3.0, rate=RATE)
        logs = logged(platform)

    seen = probe.seen
    told = f"{dict(seen.counts)} {seen.examples} after {faults.struck}"
    print(told)
    assert not seen.counts[Saw.WRONG], told
    assert not seen.counts[Saw.FAILED], told
    assert not unexplained(seen, faults), told
    assert seen.counts[Saw.RIGHT] >= ANSWERED * seen.counts.total(), told
    assert set(calm.seen.counts) == {Saw.RIGHT}, calm.seen.examples
    assert CANARY not in logs
