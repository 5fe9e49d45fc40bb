"""Which examples run together, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from minion.host.batch import Batch, BatchPolicy, Wait, halve
from minion.host.batching import MAX_HELD, BatchQueue
from wire.flows import ANYBODY, Flow
from wire.reasons import Reason


@dataclass(frozen=True)
class Kind:
    name: str
    size_bytes: int = 1
    work: float = 1.0


SMALL, LARGE = Kind("small"), Kind("large")


@dataclass(frozen=True)
class Item:
    name: str
    group: Kind = SMALL
    deadline: float | None = None
    flow: Flow = ANYBODY


class Plain:
    """An economy in which waiting pays until a moment, everybody gets an even share,
    batches pay up to a size, and each example of one takes so long."""

    def __init__(
        self, *, until: float = math.inf, pays: int = 2**31, each_seconds: float = 0.0
    ) -> None:
        self.until = until
        self.pays = pays
        self.each_seconds = each_seconds
        self.asked: list[tuple[int, int, int]] = []

    def batch_seconds(self, size: int, *, busy_workers: int) -> float:
        return size * self.each_seconds

    def worth_waiting_until(
        self, members: int, *, idle_workers: int, busy_workers: int, now: float
    ) -> float:
        self.asked.append((members, idle_workers, busy_workers))
        return self.until

    def share(
        self, waiting: int, limit: int, *, idle_workers: int, free_in: Sequence[float]
    ) -> int:
        return min(-(-waiting // idle_workers), limit, self.pays)

    def ahead(self, limit: int, *, busy_workers: int) -> int | None:
        return min(limit, self.pays) or None


def queue_of(
    names: str = "",
    *,
    size: int = 8,
    delay: float = 0.005,
    max_bytes: int = 2**63,
    now: float = 10.0,
    economy: Plain | None = None,
) -> BatchQueue[Item]:
    policy = BatchPolicy(size, delay, max_bytes)
    queue: BatchQueue[Item] = BatchQueue(policy, economy or Plain())
    for name in names:
        queue.offer(Item(name), now=now)
    return queue


def names(batch: object) -> str:
    assert isinstance(batch, Batch), batch
    return "".join(item.name for item in batch.members)


def test_an_empty_queue_has_nothing_to_do() -> None:
    assert queue_of().take(now=10.0) is None


def test_a_lone_example_leaves_when_its_window_closes() -> None:
    queue = queue_of("a")

    assert queue.take(now=10.004) == Wait(until=10.005)
    assert queue.take(now=10.005) == Batch([Item("a")], [], Reason.WINDOW)
    assert queue.take(now=10.006) is None


def test_a_full_batch_leaves_at_once() -> None:
    assert names(queue_of("abcd", size=4).take(now=10.0)) == "abcd"


def test_the_window_counts_from_the_oldest() -> None:
    queue = queue_of("a")
    queue.offer(Item("b"), now=10.004)

    assert names(queue.take(now=10.005)) == "ab"


def test_without_a_delay_nobody_waits() -> None:
    assert names(queue_of("a", delay=0.0).take(now=10.0)) == "a"


def test_a_batch_leaves_when_waiting_is_no_longer_worth_it() -> None:
    economy = Plain(until=10.002)
    queue = queue_of("ab", economy=economy)

    assert queue.take(now=10.001, free_in=[1.0, 2.0, 3.0]) == Wait(until=10.002)
    assert names(queue.take(now=10.002)) == "ab"
    assert economy.asked == [(2, 1, 3), (2, 1, 0)]


def test_however_much_waiting_is_worth_the_window_closes() -> None:
    assert queue_of("a", economy=Plain(until=99.0)).take(now=10.0) == Wait(until=10.005)


def test_a_batch_is_never_larger_than_its_limit_and_keeps_the_order() -> None:
    queue = queue_of("abcdefg", size=3, delay=0.0)

    assert [names(queue.take(now=10.0)) for _ in range(3)] == ["abc", "def", "g"]


def test_what_the_memory_cannot_hold_together_runs_one_after_another() -> None:
    queue = queue_of(max_bytes=10, delay=0.0)
    for name, size in (("a", 5), ("b", 5), ("c", 5), ("d", 100), ("e", 100)):
        queue.offer(Item(name, Kind(f"{size}", size)), now=10.0)

    assert [names(queue.take(now=10.0)) for _ in range(4)] == ["ab", "c", "d", "e"]


def test_groups_are_never_mixed() -> None:
    queue = queue_of(delay=0.0)
    for name, group in (("a", SMALL), ("b", LARGE), ("c", SMALL)):
        queue.offer(Item(name, group), now=10.0)

    assert [names(queue.take(now=10.0)) for _ in range(2)] == ["ac", "b"]


def test_of_several_groups_that_are_due_the_one_whose_turn_it_is_leaves_first() -> None:
    queue = queue_of()
    queue.offer(Item("b", LARGE), now=10.0)
    queue.offer(Item("a", SMALL), now=10.001)

    assert names(queue.take(now=10.1)) == "b"


def test_a_full_group_does_not_wait_for_an_older_one() -> None:
    queue = queue_of(size=2)
    for name, group in (("a", SMALL), ("b", LARGE), ("c", LARGE)):
        queue.offer(Item(name, group), now=10.0)

    assert names(queue.take(now=10.001)) == "bc"
    assert queue.take(now=10.001) == Wait(until=10.005)


# Several idle workers.


def test_idle_workers_share_what_is_due_evenly() -> None:
    queue = queue_of("abcde", delay=0.0)

    assert names(queue.take(now=10.0, idle_workers=2)) == "abc"
    assert names(queue.take(now=10.0, idle_workers=1)) == "de"


def test_the_second_share_of_a_full_batch_waits_for_no_window() -> None:
    queue = queue_of("abcd", size=4, delay=60.0)

    assert names(queue.take(now=10.0, idle_workers=2)) == "ab"
    assert names(queue.take(now=10.0, idle_workers=1)) == "cd"


def test_shares_are_no_larger_than_a_batch() -> None:
    queue = queue_of("abcdefg", size=2, delay=0.0)

    assert names(queue.take(now=10.0, idle_workers=2)) == "ab"
    assert len(queue) == 5


def test_more_workers_than_examples_share_nothing_twice() -> None:
    queue = queue_of("ab", delay=0.0)

    assert [names(queue.take(now=10.0, idle_workers=n)) for n in (5, 4)] == ["a", "b"]
    assert queue.take(now=10.0, idle_workers=3) is None


# The next batch of a busy worker.


def test_a_busy_worker_is_handed_a_full_batch() -> None:
    queue = queue_of("abcde", size=4)

    assert names(queue.take_ahead(10.0, takers=1, busy_workers=1)) == "abcd"
    assert queue.take_ahead(10.0, takers=1, busy_workers=1) is None
    assert len(queue) == 1


def test_nobody_is_handed_a_batch_unless_every_worker_finds_a_full_one() -> None:
    queue = queue_of("abcdefg", size=4)

    assert queue.take_ahead(10.0, takers=2, busy_workers=2) is None

    queue.offer(Item("h"), now=10.0)
    assert names(queue.take_ahead(10.0, takers=2, busy_workers=2)) == "abcd"


def test_full_is_what_does_not_pay_to_grow() -> None:
    queue = queue_of("abc", economy=Plain(pays=2))

    assert names(queue.take_ahead(10.0, takers=1, busy_workers=1)) == "ab"


def test_where_it_does_not_pay_nothing_is_sent_ahead() -> None:
    queue = queue_of("abcd", size=2, economy=Plain(pays=0))

    assert queue.take_ahead(10.0, takers=1, busy_workers=1) is None


def test_of_several_full_groups_the_one_whose_turn_it_is_is_handed_out_first() -> None:
    queue = queue_of(size=2)
    for name, group, now in (("b", LARGE, 1), ("a", SMALL, 2), ("c", SMALL, 3), ("d", LARGE, 4)):
        queue.offer(Item(name, group), now=now)

    assert names(queue.take_ahead(10.0, takers=1, busy_workers=1)) == "bd"


def test_full_batches_of_one_shape_do_not_go_ahead_of_whose_turn_it_is_of_another() -> None:
    queue = queue_of(size=2)
    for name, group, now in (("a", LARGE, 1), ("b", SMALL, 2), ("c", SMALL, 2)):
        queue.offer(Item(name, group), now=now)

    assert queue.take_ahead(10.0, takers=1, busy_workers=1) is None
    assert names(queue.take(now=10.0)) == "a"
    assert names(queue.take_ahead(10.0, takers=1, busy_workers=1)) == "bc"


def test_what_was_put_back_waits_for_an_idle_worker_and_so_does_the_rest() -> None:
    queue = queue_of("abcd", size=2)
    queue.put_back([Item("x")])

    assert queue.take_ahead(10.0, takers=1, busy_workers=1) is None


def test_the_expired_are_not_handed_out() -> None:
    queue = queue_of("bc", size=2)
    gone = Item("d", deadline=9.0)
    queue.offer(gone, now=8.0)

    batch = queue.take_ahead(10.0, takers=1, busy_workers=1)

    assert batch == Batch([Item("b"), Item("c")], [gone], Reason.AHEAD)
    assert queue.take(now=20.0) is None


# Nothing is computed for nobody.


def test_the_expired_are_told_and_do_not_run() -> None:
    queue = queue_of(delay=0.0)
    queue.offer(Item("a", deadline=10.5), now=10.0)
    queue.offer(Item("b", deadline=11.5), now=10.0)

    batch = queue.take(now=10.5)

    assert batch == Batch([Item("b", deadline=11.5)], [Item("a", deadline=10.5)], Reason.WINDOW)


def test_the_expired_take_no_place_in_a_batch() -> None:
    queue = queue_of(delay=0.0, size=2)
    queue.offer(Item("a", deadline=10.5), now=10.0)
    for name in "bc":
        queue.offer(Item(name), now=10.0)

    assert names(queue.take(now=11.0)) == "bc"


def test_the_expired_of_every_share_are_told() -> None:
    queue = queue_of(delay=0.0, size=1)
    gone = Item("b", deadline=10.5)
    queue.offer(Item("a"), now=10.0)
    queue.offer(gone, now=10.0)

    assert queue.take(now=11.0, idle_workers=2) == Batch([Item("a")], [gone])
    assert queue.take(now=11.0) is None


def test_the_discarded_are_gone() -> None:
    queue = queue_of("abc", delay=0.0)

    assert queue.discard(Item("b"))
    assert not queue.discard(Item("b"))
    assert names(queue.take(now=10.0)) == "ac"


def test_a_queue_whose_last_was_discarded_is_empty() -> None:
    queue = queue_of("a")
    queue.put_back([Item("b")])

    queue.discard(Item("a"))
    queue.discard(Item("b"))

    assert (len(queue), queue.take(now=20.0)) == (0, None)


def test_clearing_takes_out_everybody() -> None:
    queue = queue_of("ab")
    queue.put_back([Item("c")])

    assert {item.name for item in queue.clear()} == {"a", "b", "c"}
    assert (len(queue), queue.take(now=20.0)) == (0, None)


# Batches that come back.


def test_what_was_put_back_goes_first_and_alone() -> None:
    queue = queue_of("a", delay=0.0)
    queue.put_back([Item("x"), Item("y")])

    assert len(queue) == 3
    assert [names(queue.take(now=10.0)) for _ in range(2)] == ["xy", "a"]


def test_what_was_put_back_may_have_expired() -> None:
    queue = queue_of()
    gone = Item("x", deadline=10.0)
    queue.put_back([gone, Item("y")])

    assert queue.take(now=10.0) == Batch([Item("y")], [gone], Reason.AGAIN)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [("a", ["a"]), ("ab", ["a", "b"]), ("abc", ["ab", "c"]), ("abcdefgh", ["abcd", "efgh"])],
)
def test_halves(whole: str, parts: list[str]) -> None:
    assert halve(list(whole)) == [list(part) for part in parts]


def test_a_batch_formed_before_it_became_too_large_leaves_in_parts() -> None:
    queue = queue_of("x", delay=0.0)
    gone = Item("b", deadline=10.0)
    queue.put_back([Item("a"), gone, Item("c"), Item("d"), Item("e"), Item("f")])

    queue.policy = BatchPolicy(2, 0.0)
    first, *rest = [queue.take(now=10.0) for _ in range(4)]

    assert first == Batch([Item("a"), Item("c")], [gone], Reason.AGAIN)
    assert [names(each) for each in rest] == ["de", "f", "x"]


def test_new_numbers_are_in_force_at_once() -> None:
    queue = queue_of("abc", delay=60.0)

    queue.policy = BatchPolicy(2, 60.0)

    assert names(queue.take(now=10.0)) == "ab"
    assert queue.take(now=10.0) == Wait(until=70.0)


# Why a batch leaves when it does.


def reason(batch: object) -> Reason:
    assert isinstance(batch, Batch), batch
    return batch.reason


def test_a_full_batch_leaves_because_it_is_full_and_so_does_each_share_of_it() -> None:
    queue = queue_of("abcd", size=4)

    assert reason(queue.take(now=10.0, idle_workers=2)) is Reason.FULL
    assert reason(queue.take(now=10.0)) is Reason.FULL


def test_what_waiting_is_not_worth_it_for_leaves_because_nobody_is_to_come() -> None:
    assert reason(queue_of("a", economy=Plain(until=9.0)).take(now=10.0)) is Reason.COMPANY


def test_a_batch_that_would_soon_be_too_late_leaves_because_of_the_deadline() -> None:
    queue = queue_of(economy=Plain(each_seconds=0.1), delay=1.0)
    queue.offer(Item("a", deadline=10.25), now=10.0)

    assert queue.take(now=10.0) == Wait(until=10.25 - 0.2)
    assert reason(queue.take(now=10.05)) is Reason.DEADLINE


def test_one_of_too_many_shapes_leaves_because_there_are_so_many() -> None:
    queue = queue_of()
    for shape in range(MAX_HELD + 1):
        queue.offer(Item("x", Kind(f"{shape}")), now=10.0)

    assert reason(queue.take(now=10.0)) is Reason.SHAPES


def test_what_is_left_of_a_batch_that_became_too_large_still_runs_again() -> None:
    queue = queue_of(size=1)
    queue.put_back([Item("a"), Item("b")])

    assert [reason(queue.take(now=10.0)) for _ in range(2)] == [Reason.AGAIN] * 2
