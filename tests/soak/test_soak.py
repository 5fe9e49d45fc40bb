from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.platform import running
from tests.soak.held import Held, State, findings, memory_findings
from tests.soak.mixture import SETTINGS, packages
from tests.soak.soaking import soak

COUNT, PIECES = 3000, 3
HELD = Held(memory_bytes=100_000_000, shared_bytes=0, descriptors=9, shared=2, threads=3)
BEFORE = State({1: HELD}, {"a"})


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (State({1: HELD}, {"a", "b"}), "shared memory was left: b"),
        (State({1: HELD._replace(descriptors=10)}, {"a"}), "descriptors of process 1: 9, 10"),
        (State({1: HELD._replace(threads=4)}, {"a"}), "threads of process 1: 3, 4"),
        (State({2: HELD}, {"a"}), "process 1 went"),
        (State({1: HELD, 2: HELD}, {"a"}), "process 2 came"),
    ],
    ids=["a name", "a descriptor", "a thread", "another process", "one more process"],
)
def test_what_grew_is_found(now: State, what: str) -> None:
    assert what in findings(BEFORE, now)


def test_what_became_less_is_none_of_it() -> None:
    assert not findings(BEFORE, State({1: HELD._replace(descriptors=8, threads=1)}, set()))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [(100, 101.9, False), (100, 102.1, True), (1000, 1009, False), (1000, 1011, True)],
    ids=["under both", "two per cent", "under ten megabytes", "ten megabytes"],
)
def test_memory_may_grow_by_two_per_cent_and_by_ten_megabytes(
    before: float, now: float, found: bool
) -> None:
    old, new = (
        State({1: HELD._replace(memory_bytes=int(each * 10**6))}, set()) for each in (before, now)
    )

    assert bool(memory_findings(old, new)) is found


@pytest.mark.timeout(240)
def test_some_thousand_mixed_requests_are_answered_rightly_and_leave_nothing(
    tmp_path: Path,
) -> None:
    """Memory and threads settle later than that: `make soak` looks at them."""
    models = packages(tmp_path / "packages")
    with running(tmp_path / "home", models, settings=SETTINGS) as platform:
        states, seen, wrong = soak(platform, "demitasse", COUNT, PIECES, {})

    assert not wrong, wrong[:5]
    first, last = (
        State({pid: held._replace(threads=0) for pid, held in each.processes.items()}, each.names)
        for each in (states[1], states[-1])
    )
    assert not findings(first, last)
    assert seen["good: 200 ok"] > COUNT / 2
    assert sum(count for answer, count in seen.items() if answer.startswith("hung up")) > COUNT / 50
    assert sum(answer.startswith("bad: 4") for answer in seen) > 10
