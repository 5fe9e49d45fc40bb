"""Shared memory in pieces: nobody gets what somebody has, and what comes back serves again."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.parcels import MIN_PARCEL_BYTES, Parcels
from wire.tensor import Buffer

MIB = 2**20


@pytest.fixture
def parcels() -> Iterator[Parcels]:
    parcels = Parcels(4 * MIB)
    yield parcels
    parcels.close()


def taken(parcels: Parcels, size: int) -> memoryview:
    parcel = parcels.take(size)
    assert parcel is not None
    return parcel


def place(parcels: Parcels, data: Buffer) -> int:
    found = parcels.place_of(data)
    assert found is not None
    return found


@given(st.lists(st.integers(1, MIB) | st.none(), max_size=40))
def test_pieces_never_overlap(steps: list[int | None]) -> None:
    parcels = Parcels(4 * MIB)
    held: list[memoryview] = []
    for size in steps:
        if size is None:
            del held[:1]
        elif (parcel := parcels.take(size)) is not None:
            assert len(parcel) == size
            held.append(parcel)
            del parcel
        spans = sorted((place(parcels, each), len(each)) for each in held)
        assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(spans))
        assert all(start + size <= 4 * MIB for start, size in spans)
        assert parcels.taken == len(held)
    parcels.close()


def test_a_piece_comes_back_with_the_last_view_of_it(parcels: Parcels) -> None:
    first = taken(parcels, 150_528)
    where = place(parcels, first)
    part = first[100:200]
    array = np.frombuffer(part, np.uint8)

    del first, part
    assert parcels.taken == 1
    del array

    assert parcels.taken == 0
    assert place(parcels, taken(parcels, 200_000)) == where


def test_the_place_of_a_part_is_its_own(parcels: Parcels) -> None:
    taken(parcels, 1)
    whole = taken(parcels, 150_528)

    assert place(parcels, whole[100:]) == place(parcels, whole) + 100
    assert place(parcels, whole) % MIN_PARCEL_BYTES == 0


def test_what_lies_elsewhere_has_no_place(parcels: Parcels) -> None:
    other = Parcels(MIB)

    assert parcels.place_of(b"x" * 100) is None
    assert parcels.place_of(memoryview(bytearray(100))) is None
    assert parcels.place_of(taken(other, 100)) is None
    other.close()


def test_where_there_is_no_room_there_is_no_piece(parcels: Parcels) -> None:
    whole = taken(parcels, 4 * MIB)

    assert place(parcels, whole) == 0
    assert parcels.take(1) is None
    assert parcels.take(2**40) is None


def test_a_large_piece_that_came_back_serves_the_small(parcels: Parcels) -> None:
    taken(parcels, 4 * MIB)

    small = taken(parcels, 1)

    assert parcels.take(1) is None
    del small
    assert place(parcels, taken(parcels, 4 * MIB)) == 0


def touched(parcels: Parcels) -> int:
    """Bytes of the memory that exist."""
    return os.fstat(parcels.descriptor).st_blocks * 512


def test_memory_that_nobody_used_lately_goes_back_to_the_system(parcels: Parcels) -> None:
    parcel = taken(parcels, MIB)
    parcel[:] = b"x" * MIB
    parcels.trim()
    parcels.trim()
    assert touched(parcels) >= MIB

    del parcel
    parcels.trim()

    assert touched(parcels) == 0
    assert bytes(taken(parcels, MIB)[:4]) == bytes(4)


def test_a_piece_that_comes_back_in_another_thread_is_not_given_away_twice(
    parcels: Parcels,
) -> None:
    class Interrupted(dict[int, list[int]]):
        """Where the thread of the piece is interrupted: the event loop's turn comes."""

        def setdefault(self, room: int, free: list[int]) -> list[int]:
            parcels.trim()
            return super().setdefault(room, free)

    parcels._free = Interrupted()
    parcel = taken(parcels, MIB)
    parcels.trim()  # from now on nobody has had a piece lately

    thread = threading.Thread(target=parcel.release)
    del parcel
    thread.start()
    thread.join()

    assert parcels.taken == 0
    one, other = taken(parcels, MIB), taken(parcels, MIB)
    assert place(parcels, one) != place(parcels, other)


def test_memory_in_steady_use_is_kept(parcels: Parcels) -> None:
    for _ in range(3):
        parcel = taken(parcels, MIB)
        parcel[:] = b"x" * MIB
        del parcel
        parcels.trim()

    assert touched(parcels) >= MIB


def test_it_cannot_shrink_under_a_host_that_reads_it(parcels: Parcels) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(parcels.descriptor, 1)
    with pytest.raises(PermissionError):
        fcntl.fcntl(parcels.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
