"""Who is convicted, of what, after how much; and what becomes of everybody else."""

from __future__ import annotations

import signal

import pytest

from minion.host.poison import Loss, Suspicion, loss_of, parts
from wire.errors import Code

CRASHED, OVERRAN, INTERRUPTED = Loss.CRASHED, Loss.OVERRAN, Loss.INTERRUPTED
EXCEEDED = Loss.EXCEEDED


def verdicts(*losses: tuple[Loss, bool]) -> list[Code | None]:
    """Of one example, after each of these: how its process was lost, and whether it was alone."""
    suspicion = Suspicion()
    return [suspicion.lost(loss, alone=alone) for loss, alone in losses]


@pytest.mark.parametrize(
    ("status", "loss"),
    [
        (-signal.SIGSEGV, CRASHED),
        (-signal.SIGABRT, CRASHED),
        (3, CRASHED),
        (0, CRASHED),
        (-signal.SIGPROF, OVERRAN),
        (-signal.SIGXCPU, OVERRAN),
        (-signal.SIGKILL, INTERRUPTED),
        (-signal.SIGTERM, INTERRUPTED),
        (None, INTERRUPTED),
    ],
)
def test_an_exit_status_tells_a_crash_from_what_came_from_outside(
    status: int | None, loss: Loss
) -> None:
    assert loss_of(status) is loss


def test_in_company_nobody_is_convicted() -> None:
    assert verdicts(*((loss, False) for loss in Loss)) == [None] * len(Loss)


def test_who_crashed_in_company_is_convicted_by_one_crash_alone() -> None:
    assert verdicts((CRASHED, False), (CRASHED, True)) == [None, Code.WORKER_CRASHED]


def test_who_was_never_in_company_is_convicted_by_the_second_crash() -> None:
    assert verdicts((CRASHED, True), (CRASHED, True)) == [None, Code.WORKER_CRASHED]


def test_one_who_overran_alone_is_convicted_at_once() -> None:
    assert verdicts((OVERRAN, True)) == [Code.PREDICT_TIMEOUT]


def test_one_who_took_too_much_alone_is_convicted_at_once() -> None:
    assert verdicts((EXCEEDED, True)) == [Code.WORKER_CRASHED]


def test_who_took_too_much_in_company_is_convicted_by_one_crash_alone() -> None:
    assert verdicts((EXCEEDED, False), (CRASHED, True)) == [None, Code.WORKER_CRASHED]


def test_interruptions_convict_only_at_the_third_alone() -> None:
    assert verdicts(*[(INTERRUPTED, False)] * 9, *[(INTERRUPTED, True)] * 3) == [
        *[None] * 9, None, None, Code.WORKER_CRASHED,
    ]  # fmt: skip


def test_an_interruption_in_company_makes_no_crash_the_second() -> None:
    assert verdicts((INTERRUPTED, False), (CRASHED, True)) == [None, None]


def test_one_crash_and_interruptions_alone_convict_at_the_third() -> None:
    assert verdicts((CRASHED, True), (INTERRUPTED, True), (INTERRUPTED, True)) == [
        None, None, Code.WORKER_CRASHED,
    ]  # fmt: skip


@pytest.mark.parametrize("loss", [CRASHED, EXCEEDED, INTERRUPTED])
def test_what_lost_its_process_is_halved(loss: Loss) -> None:
    assert parts([1, 2, 3, 4, 5], loss) == [[1, 2, 3], [4, 5]]


def test_what_overran_runs_one_by_one() -> None:
    assert parts([1, 2, 3], OVERRAN) == [[1], [2], [3]]


@pytest.mark.parametrize("loss", Loss)
def test_one_alone_stays_one(loss: Loss) -> None:
    assert parts([1], loss) == [[1]]


@pytest.mark.parametrize("culprit", range(16))
def test_one_killer_among_sixteen_costs_at_most_five_processes(culprit: int) -> None:
    assert deaths({culprit}, CRASHED) == 5


@pytest.mark.parametrize(("culprits", "most"), [({0, 15}, 9), (set(range(16)), 31)])
def test_several_killers_cost_at_most_five_processes_each(culprits: set[int], most: int) -> None:
    assert deaths(culprits, CRASHED) == most <= 5 * len(culprits)


def test_one_that_overruns_among_sixteen_costs_two_processes() -> None:
    assert deaths({7}, OVERRAN) == 2


def deaths(culprits: set[int], loss: Loss) -> int:
    """How many processes end until exactly these of sixteen are convicted."""
    suspicions = [Suspicion() for _ in range(16)]
    batches, convicted, count = [list(range(16))], set[int](), 0
    while batches:
        batch = batches.pop()
        if not culprits & set(batch):
            continue
        count += 1
        alone = len(batch) == 1
        if [suspicions[each].lost(loss, alone=alone) for each in batch] != [None] * len(batch):
            convicted |= set(batch)
        else:
            batches += parts(batch, loss)
    assert convicted == culprits
    return count
