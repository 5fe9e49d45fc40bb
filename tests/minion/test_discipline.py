"""Whose turn it is: fair shares, classes, deadlines. Asked of the queue, as the lane does."""

from __future__ import annotations

import gc
import math
import random
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minion.host.batch import Batch, BatchPolicy, Wait
from minion.host.batching import MAX_HELD, BatchQueue
from minion.host.discipline import AGEING_SECONDS
from wire.flows import CLASSES, Flow

INTERACTIVE, BULK, SHADOW = range(len(CLASSES))


@dataclass(frozen=True)
class Shape:
    work: float = 1.0
    size_bytes: int = 1


ONE = Shape()


@dataclass(eq=False)
class Asked:
    """One example; two of them are never equal."""

    caller: int = 0
    group: Shape = ONE
    rank: int = INTERACTIVE
    weight: float = 1.0
    deadline: float | None = None
    flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.flow = Flow(self.rank, self.caller, self.weight)


class Linear:
    """An economy that never waits for company; a batch of n takes n times so long."""

    def __init__(self, each_seconds: float = 0.0) -> None:
        self.each_seconds = each_seconds

    def batch_seconds(self, size: int, *, busy_workers: int) -> float:
        return size * self.each_seconds

    def worth_waiting_until(
        self, members: int, *, idle_workers: int, busy_workers: int, now: float
    ) -> float:
        return -math.inf

    def share(
        self, waiting: int, limit: int, *, idle_workers: int, free_in: Sequence[float]
    ) -> int:
        return min(waiting, limit)

    def ahead(self, limit: int, *, busy_workers: int) -> int | None:
        return limit


def queue_of(
    *examples: Asked, size: int = 1, each_seconds: float = 0.0, now: float = 0.0
) -> BatchQueue[Asked]:
    queue: BatchQueue[Asked] = BatchQueue(BatchPolicy(size, 0.0), Linear(each_seconds))
    for example in examples:
        queue.offer(example, now)
    return queue


def taken(queue: BatchQueue[Asked], now: float = 0.0) -> list[Asked]:
    """The members of the next batch."""
    batch = queue.take(now)
    assert isinstance(batch, Batch), batch
    return batch.members


def order(queue: BatchQueue[Asked], now: float = 0.0) -> list[Asked]:
    """Everybody, in the order in which they are handed out."""
    found: list[Asked] = []
    while len(queue):
        found += taken(queue, now)
    return found


# Callers.


def test_two_hundred_of_one_caller_do_not_hold_up_twenty_others_with_one_each() -> None:
    queue = queue_of(*(Asked(0) for _ in range(200)))
    taken(queue)
    for caller in range(1, 21):
        queue.offer(Asked(caller), now=0.0)

    first = [example.caller for example in order(queue)[:21]]

    assert Counter(first) == Counter(range(21))


@pytest.mark.parametrize(
    ("newcomer", "before"),
    [
        (Flow(0, 9), 2),
        (Flow(0, 1), 3 + 4),
        (Flow(1, 9), 13 + 1),
        (Flow(2, 9), 13 + 5),
    ],
    ids=["a new caller", "one who has three here", "a new one in bulk", "a shadow"],
)
def test_how_many_go_before_somebody_is_known_by_his_turn(newcomer: Flow, before: int) -> None:
    queue = queue_of(
        *(Asked(0) for _ in range(10)),
        *(Asked(1) for _ in range(3)),
        *(Asked(2, rank=1) for _ in range(5)),
    )

    assert queue.ahead(newcomer) == before


def test_one_caller_is_served_in_the_order_of_arrival() -> None:
    examples = [Asked() for _ in range(50)]

    assert order(queue_of(*examples, size=7)) == examples


def test_of_callers_who_are_equally_behind_the_one_with_less_work_goes_first() -> None:
    large, small = Asked(1, Shape(work=50.0)), Asked(2, Shape(work=1.0))

    assert order(queue_of(large, small)) == [small, large]


def test_a_small_one_does_not_wait_behind_anothers_large_ones() -> None:
    queue = queue_of(*(Asked(1, Shape(work=50.0)) for _ in range(10)))
    taken(queue)
    small = Asked(2, Shape(work=1.0))
    queue.offer(small, now=0.0)

    assert taken(queue) == [small]


def test_a_large_one_is_not_starved_by_small_ones_that_never_end() -> None:
    large = Asked(1, Shape(work=50.0))
    queue = queue_of(large, *(Asked(caller, Shape(work=1.0)) for caller in (2, 3)))

    for _ in range(2 * 50 + 2):  # two callers, each with as much work as the large one
        [next_one] = taken(queue)
        if next_one is large:
            break
        queue.offer(Asked(next_one.caller, Shape(work=1.0)), now=0.0)

    assert next_one is large


def test_who_hangs_up_on_all_of_his_owes_nothing() -> None:
    queue = queue_of(Asked(2), Asked(2), Asked(2))
    gone = [Asked(1) for _ in range(100)]
    for example in gone:
        queue.offer(example, now=0.0)
    for example in gone:
        queue.discard(example)

    queue.offer(Asked(1), now=0.0)

    assert 1 in [example.caller for example in order(queue)[:2]]


backlog = st.lists(
    st.tuples(st.sampled_from([0.25, 1.0, 2.0, 8.0]), st.sampled_from([1.0, 3.0, 10.0])),
    min_size=2,
    max_size=5,
)


@given(backlog, st.integers(1, 8), st.integers(10, 49))
@settings(deadline=None)
def test_callers_who_keep_asking_share_by_weight(
    callers: list[tuple[float, float]], size: int, batches: int
) -> None:
    shapes = {work: Shape(work) for _, work in callers}

    def another(caller: int) -> Asked:
        weight, work = callers[caller]
        return Asked(caller, shapes[work], weight=weight)

    queue = queue_of(*(another(caller) for caller in range(len(callers)) for _ in range(400)))
    served = dict.fromkeys(range(len(callers)), 0.0)
    for _ in range(batches):
        for example in queue.take(0.0).members[:]:  # type: ignore[union-attr]
            served[example.caller] += example.group.work
        # One shape at a time: sizes above one go round the shapes, not the callers.
        queue.policy = BatchPolicy(size if len(shapes) == 1 else 1, 0.0)

    behind = [served[i] / weight for i, (weight, _) in enumerate(callers)]
    grain = [work / weight for weight, work in callers]
    for one in range(len(callers)):
        for other in range(len(callers)):
            assert behind[one] - behind[other] <= grain[one] + grain[other] + 1e-6


# Classes.


def test_classes_are_strict() -> None:
    shadow, bulk, asked = Asked(1, rank=SHADOW), Asked(2, rank=BULK), Asked(3, rank=INTERACTIVE)

    assert order(queue_of(shadow, bulk, asked)) == [asked, bulk, shadow]


def test_a_batch_is_filled_with_less_urgent_ones() -> None:
    bulk, asked = Asked(1, rank=BULK), Asked(2)

    assert taken(queue_of(bulk, asked, size=2)) == [asked, bulk]


@pytest.mark.parametrize(("rank", "steps"), [(BULK, 1), (SHADOW, 2)])
def test_who_waited_too_long_competes_with_the_more_urgent(rank: int, steps: int) -> None:
    old = Asked(1, rank=rank)
    queue = queue_of(old, *(Asked(2) for _ in range(8)))

    for step in range(1, steps + 1):
        assert taken(queue, now=step * AGEING_SECONDS - 0.001) != [old]
        assert old not in taken(queue, now=step * AGEING_SECONDS)

    assert old in taken(queue, now=steps * AGEING_SECONDS) + taken(queue, steps * AGEING_SECONDS)


def test_a_backlog_that_has_aged_gets_one_callers_share() -> None:
    queue = queue_of(*(Asked(1, rank=BULK) for _ in range(100)))
    for caller in (2, 3, 4):
        for _ in range(30):
            queue.offer(Asked(caller), now=AGEING_SECONDS)

    first = [example.caller for example in order(queue, now=AGEING_SECONDS)[:40]]

    assert all(9 <= Counter(first)[caller] <= 11 for caller in (1, 2, 3, 4))


def test_who_is_urgent_and_in_bulk_is_not_behind_his_own_backlog() -> None:
    queue = queue_of(*(Asked(1, rank=BULK) for _ in range(100)))
    taken(queue, now=AGEING_SECONDS)
    urgent = Asked(1)
    queue.offer(urgent, now=AGEING_SECONDS)

    assert urgent in order(queue, now=AGEING_SECONDS)[:2]


# Deadlines.


def test_a_batch_grows_no_further_than_its_tightest_member_allows() -> None:
    hurried = Asked(1, deadline=0.35)
    queue = queue_of(hurried, *(Asked(1) for _ in range(7)), size=8, each_seconds=0.1)

    assert len(taken(queue)) == 3


def test_whoever_would_be_late_in_a_fuller_batch_goes_in_the_next() -> None:
    hurried = Asked(1, deadline=0.15)
    queue = queue_of(Asked(1), Asked(1), hurried, size=8, each_seconds=0.1)

    assert hurried not in taken(queue)
    assert len(queue) == 1


def test_a_batch_is_not_held_open_past_the_tightest_members_slack() -> None:
    class Patient(Linear):
        def worth_waiting_until(self, *args: object, **kwargs: object) -> float:
            return math.inf

    queue: BatchQueue[Asked] = BatchQueue(BatchPolicy(8, 5.0), Patient(0.1))
    queue.offer(Asked(deadline=1.0), now=0.0)

    assert queue.take(0.0) == Wait(until=pytest.approx(0.8))  # room for one more, in time
    assert len(taken(queue, now=0.81)) == 1


def test_who_cannot_be_in_time_any_more_lets_the_others_go_first() -> None:
    lost, saved = Asked(1, deadline=0.05), Asked(2)
    queue = queue_of(lost, saved, each_seconds=0.1)

    assert taken(queue) == [saved]
    assert taken(queue) == [lost]


def test_who_cannot_be_in_time_any_more_makes_no_batch_smaller() -> None:
    queue = queue_of(*(Asked(1, deadline=0.05) for _ in range(8)), size=8, each_seconds=0.1)

    assert len(taken(queue)) == 8


def test_who_expires_leaves_though_nobody_takes() -> None:
    soon, later = Asked(1, deadline=1.0), Asked(2, deadline=2.0)
    queue = queue_of(later, soon, Asked(3))

    assert queue.next_expiry == 1.0
    assert queue.expire(0.99) == []
    assert queue.expire(1.0) == [soon]
    assert (queue.next_expiry, len(queue)) == (2.0, 2)


def test_who_expires_in_a_batch_that_came_back_leaves_too() -> None:
    gone, other = Asked(1, deadline=1.0), Asked(1)
    queue = queue_of()
    queue.put_back([gone, other])

    assert queue.expire(1.0) == [gone]
    assert taken(queue, now=1.0) == [other]


deadlines = st.lists(st.none() | st.floats(0.0, 3.0), min_size=1, max_size=40)


@given(deadlines, st.integers(1, 8), st.sampled_from([0.01, 0.1, 1.0]))
@settings(deadline=None)
def test_no_batch_is_past_the_slack_of_a_member_that_it_could_serve_in_time(
    moments: list[float | None], size: int, each: float
) -> None:
    queue = queue_of(
        *(Asked(1, deadline=moment) for moment in moments), size=size, each_seconds=each
    )
    now = 0.0
    while len(queue):
        members = taken(queue, now)
        ends = now + len(members) * each
        for example in members:
            servable = example.deadline is None or example.deadline >= now + each
            assert not servable or example.deadline is None or ends <= example.deadline + 1e-9
        now = ends if members else now


def test_of_100_000_with_random_deadlines_none_is_handed_out_late_and_each_is_told_once() -> None:
    chance = random.Random(4)
    shapes = [Shape(work=float(work)) for work in range(1, 40)]
    examples = [
        Asked(
            chance.randrange(500), chance.choice(shapes), chance.randrange(3),
            deadline=chance.uniform(0.0, 60.0) if chance.random() < 0.9 else None,
        )
        for _ in range(100_000)
    ]  # fmt: skip
    queue = queue_of(*examples, size=8, each_seconds=0.0001)
    endings: Counter[Asked] = Counter()
    now = 0.0
    while len(queue):
        for example in queue.expire(now):
            assert example.deadline is not None
            assert now - 0.01 <= example.deadline <= now  # told when it expired, not later
            endings[example] += 1
        batch = queue.take(now)
        if isinstance(batch, Batch):
            for example in batch.members:
                assert example.deadline is None or example.deadline > now
                endings[example] += 1
            assert not batch.late
        now += 0.01

    assert len(endings) == len(examples)
    assert set(endings.values()) == {1}


# Whatever happens.

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("offer"), st.integers(0, 4), st.integers(0, MAX_HELD + 3), st.integers(0, 2),
            st.none() | st.floats(0.0, 40.0),
        ),
        st.tuples(st.sampled_from(["take", "ahead", "discard", "put back"]), st.integers(0, 100)),
        st.tuples(st.just("wait"), st.floats(0.0, 11.0)),
    ),
    max_size=120,
)  # fmt: skip


@given(steps, st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_an_idle_worker_always_finds_work_and_nobody_is_lost_or_served_twice(
    script: list[tuple[object, ...]], size: int
) -> None:
    shapes = [Shape(float(work + 1)) for work in range(MAX_HELD + 4)]
    queue = queue_of(size=size, each_seconds=0.5)
    inside: dict[Asked, None] = {}
    outside: list[Asked] = []
    now = 0.0

    def leave(batch: object) -> None:
        assert isinstance(batch, Batch)
        for example in (*batch.members, *batch.late):
            del inside[example]
        assert len({example.group for example in batch.members}) <= 1
        outside.extend(batch.members)

    for what, *how in script:
        if what == "offer":
            caller, shape, rank, left = how
            asked = Asked(
                caller,
                shapes[shape],
                rank,
                deadline=None if left is None else now + left,  # type: ignore
            )
            queue.offer(asked, now)
            inside[asked] = None
        elif what == "wait":
            now += how[0]  # type: ignore[operator]
        elif what == "take" and inside:
            leave(queue.take(now, idle_workers=1 + how[0] % 3))  # type: ignore[operator]
        elif what == "ahead" and inside:
            batch = queue.take_ahead(now, takers=1, busy_workers=1, begins_in=lambda: 0.1)
            if batch is not None:
                leave(batch)
        elif what == "discard" and inside:
            gone = list(inside)[how[0] % len(inside)]  # type: ignore[operator]
            assert queue.discard(gone)
            assert not queue.discard(gone)
            del inside[gone]
        elif what == "put back" and outside:
            back = outside.pop()
            queue.put_back([back])
            inside[back] = None
        assert len(queue) == len(inside)
    while inside:
        leave(queue.take(now))
    assert queue.take(now) is None


def test_nothing_is_kept_of_who_left() -> None:
    queue = queue_of(Asked(1))
    gone = [Asked(2, deadline=5.0), Asked(3, rank=BULK), Asked(4, Shape(9.0))]
    looks = [weakref.ref(example) for example in gone]
    for example in gone:
        queue.offer(example, now=0.0)
    for example in gone:
        queue.discard(example)

    del gone, example
    gc.collect()

    assert [look() for look in looks] == [None] * 3
