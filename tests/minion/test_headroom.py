"""How large a batch may be after memory ran out, by who was in it."""

from __future__ import annotations

import pytest

from minion.host.headroom import UNLIMITED, Headroom


class Member:
    headroom: int | None = None


def members(count: int) -> list[Member]:
    return [Member() for _ in range(count)]


@pytest.mark.parametrize(("size", "limit"), [(16, 8), (5, 3), (3, 2), (2, 1)])
def test_a_batch_that_was_too_large_halves_the_limit(size: int, limit: int) -> None:
    headroom = Headroom()

    headroom.ran_out(members(size))

    assert headroom.limit == limit


def test_a_larger_batch_that_was_formed_before_does_not_raise_it() -> None:
    headroom = Headroom()
    headroom.ran_out(members(4))

    headroom.ran_out(members(16))

    assert headroom.limit == 2


def test_one_that_is_too_large_alone_was_to_blame_for_its_batches() -> None:
    headroom = Headroom()
    batch = members(8)

    for size in (8, 4, 2, 1):
        headroom.ran_out(batch[:size])

    assert headroom.limit == UNLIMITED


def test_what_was_known_before_it_came_stays_known() -> None:
    headroom = Headroom()
    headroom.ran_out(members(16))
    culprit = members(1)

    headroom.ran_out([*culprit, *members(3)])
    assert headroom.limit == 2
    headroom.ran_out(culprit)

    assert headroom.limit == 8


def test_one_alone_from_the_start_changes_nothing() -> None:
    headroom = Headroom()

    headroom.ran_out(members(1))

    assert headroom.limit == UNLIMITED
