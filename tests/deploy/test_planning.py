"""Recorded arrivals on another setting, pure."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from coordinator.arrivals import RECORD, Records
from deploy.planning import CannotPlan, Wish, arrivals_of, ask_hosts, at_rate, forecast
from minion.host.dispatch import Ran
from minion.host.simulation import Setting
from wire.tuning import Tuning


def records(count: int, *, seconds: float = 100.0, callers: int = 5) -> Records:
    draw = np.random.default_rng(1)
    found = np.zeros(count, RECORD)
    found["at"] = np.sort(time.time() + draw.uniform(0, seconds, count))
    found["caller"] = draw.integers(callers, size=count)
    found["size_bytes"] = 100
    found["timeout_seconds"] = np.inf
    found["weight"] = 1.0
    return found


RAN = [Ran(size, 0.03 + 0.01 * size, 1) for size in (1, 2, 4, 8)] * 10
TODAY = Setting(Tuning(20, 8, 0.0, 0))


@pytest.mark.parametrize("factor", [0.25, 1.0, 1.5, 3.0])
def test_at_another_rate_there_are_so_many_times_as_many(factor: float):
    before = records(4000)

    after = at_rate(before, factor, seed=1)

    assert len(after) == pytest.approx(factor * 4000, rel=0.05)
    assert (np.diff(after["at"]) >= 0).all()
    assert np.ptp(after["at"]) <= np.ptp(before["at"]) + 1e-6


def test_the_copies_are_other_callers_who_come_as_steeply():
    burst = records(200, seconds=0.1, callers=1)
    burst = np.concatenate([burst, burst[-1:]])
    burst["at"][-1] += 1000

    after = at_rate(burst, 2.0, seed=1)

    copied = after[after["caller"] == 1]
    assert np.ptp(copied["at"][:200]) == pytest.approx(np.ptp(burst["at"][:200]), rel=0.05)


def test_who_was_refused_before_the_size_was_known_gets_that_of_another():
    found = records(100)
    found["size_bytes"][::2] = 0

    assert {arrival.size_bytes for arrival in arrivals_of(found)} == {100}


def test_more_machines_refuse_fewer_and_a_dearer_batch_more():
    wishes = [
        Wish(TODAY, rate=1.0),
        Wish(TODAY._replace(machines=2)),
        Wish(TODAY, cost=2.0),
        Wish(TODAY, rate=2.0),
    ]

    today, more, dearer, busier = forecast(records(10_000), RAN, wishes)

    assert more.refused < 0.01 < today.refused < dearer.refused
    assert today.refused < busier.refused
    assert busier.arrivals == 20_000
    assert dearer.p95 == pytest.approx(2 * today.p95, rel=0.1)


def test_a_promise_is_kept_in_the_forecast():
    promised = TODAY._replace(tuning=Tuning(None, 8, 0.0, 0, promise_seconds=0.5))

    [found] = forecast(records(20_000, callers=1), RAN, [Wish(promised)])

    assert 0.2 < found.p95 <= found.p99 <= 0.55  # a queue that stands is kept short
    assert found.queue_limit > 8


def test_many_arrivals_are_played_by_two_processes_alike():
    few = records(25_000)
    wishes = [Wish(TODAY), Wish(TODAY, cost=1.2)]

    together = forecast(few, RAN, wishes)

    assert together == [forecast(few, RAN, [wish])[0] for wish in wishes]


def test_where_nothing_runs_that_is_said(tmp_path: Path):
    with pytest.raises(CannotPlan, match="start the platform with `demitasse up`"):
        ask_hosts(tmp_path, "tagger", "1.0.0")
