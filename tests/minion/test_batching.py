"""Which examples run together, and when."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from minion.host.batching import Batch, BatchPolicy, BatchQueue, Wait, halve


@dataclass(frozen=True)
class Item:
    name: str
    group: str = "g"
    size_bytes: int = 1
    deadline: float | None = None


def queue_of(
    names: str = "",
    *,
    size: int = 8,
    delay: float = 0.005,
    max_bytes: int = 2**63,
    now: float = 10.0,
) -> BatchQueue[Item]:
    queue: BatchQueue[Item] = BatchQueue(BatchPolicy(size, delay, max_bytes))
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
    assert queue.take(now=10.005) == Batch([Item("a")], late=[])
    assert queue.take(now=10.006) is None


def test_a_full_batch_leaves_at_once() -> None:
    assert names(queue_of("abcd", size=4).take(now=10.0)) == "abcd"


def test_the_window_counts_from_the_oldest() -> None:
    queue = queue_of("a")
    queue.offer(Item("b"), now=10.004)

    assert names(queue.take(now=10.005)) == "ab"


def test_without_a_delay_nobody_waits() -> None:
    assert names(queue_of("a", delay=0.0).take(now=10.0)) == "a"


def test_a_batch_is_never_larger_than_its_limit_and_keeps_the_order() -> None:
    queue = queue_of("abcdefg", size=3, delay=0.0)

    assert [names(queue.take(now=10.0)) for _ in range(3)] == ["abc", "def", "g"]


def test_what_the_memory_cannot_hold_together_runs_one_after_another() -> None:
    queue = queue_of(max_bytes=10, delay=0.0)
    for name, size in (("a", 6), ("b", 4), ("c", 1), ("d", 100)):
        queue.offer(Item(name, size_bytes=size), now=10.0)

    assert [names(queue.take(now=10.0)) for _ in range(3)] == ["ab", "c", "d"]


def test_groups_are_never_mixed() -> None:
    queue = queue_of(delay=0.0)
    for name, group in (("a", "small"), ("b", "large"), ("c", "small")):
        queue.offer(Item(name, group), now=10.0)

    assert [names(queue.take(now=10.0)) for _ in range(2)] == ["ac", "b"]


def test_of_several_groups_that_are_due_the_oldest_leaves_first() -> None:
    queue = queue_of()
    queue.offer(Item("a", "small"), now=10.001)
    queue.offer(Item("b", "large"), now=10.0)

    assert names(queue.take(now=10.1)) == "b"


def test_a_full_group_does_not_wait_for_an_older_one() -> None:
    queue = queue_of(size=2)
    for name, group in (("a", "small"), ("b", "large"), ("c", "large")):
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


# Nothing is computed for nobody.


def test_the_expired_are_told_and_do_not_run() -> None:
    queue = queue_of(delay=0.0)
    queue.offer(Item("a", deadline=10.5), now=10.0)
    queue.offer(Item("b", deadline=11.5), now=10.0)

    assert queue.take(now=10.5) == Batch([Item("b", deadline=11.5)], [Item("a", deadline=10.5)])


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

    assert queue.take(now=10.0) == Batch([Item("y")], [gone])


@pytest.mark.parametrize(
    ("whole", "parts"),
    [("a", ["a"]), ("ab", ["a", "b"]), ("abc", ["ab", "c"]), ("abcdefgh", ["abcd", "efgh"])],
)
def test_halves(whole: str, parts: list[str]) -> None:
    assert halve(list(whole)) == [list(part) for part in parts]


def test_new_numbers_are_in_force_at_once() -> None:
    queue = queue_of("abc", delay=60.0)

    queue.policy = BatchPolicy(2, 60.0)

    assert names(queue.take(now=10.0)) == "ab"
    assert queue.take(now=10.0) == Wait(until=70.0)
