"""Tensors side by side in shared memory."""

from __future__ import annotations

import numpy as np
import pytest

from wire.area import ALIGNMENT, Area, halves
from wire.batches import TensorRef
from wire.errors import WireError
from wire.tensor import Tensor


def tensor(*values: float) -> Tensor:
    return Tensor.from_array(np.array(values, np.float32))


def test_tensors_of_a_batch_are_stacked() -> None:
    area = Area(memoryview(bytearray(256)))

    ref = area.stack([tensor(1, 2), tensor(3, 4), tensor(5, 6)])

    assert ref == TensorRef("float32", (3, 2), 0, False)
    assert area.view(ref).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_both_sides_see_the_same_memory() -> None:
    memory = bytearray(256)
    ref = Area(memoryview(memory)).stack([tensor(1, 2)])

    assert ref is not None
    assert Area(memoryview(memory)).view(ref).tolist() == [[1, 2]]


def test_placements_are_aligned_and_do_not_overlap() -> None:
    area = Area(memoryview(bytearray(4 * ALIGNMENT)))

    offsets = [area.reserve("uint8", (size,)).offset for size in (1, 64, 65)]  # type: ignore[union-attr]

    assert offsets == [0, 64, 128]


def test_what_does_not_fit_is_not_placed() -> None:
    area = Area(memoryview(bytearray(100)))

    assert area.reserve("uint8", (101,)) is None
    assert area.reserve("uint8", (100,)) is not None
    assert area.reserve("uint8", (1,)) is None


def test_after_a_reset_there_is_room_again() -> None:
    area = Area(memoryview(bytearray(64)))
    area.reserve("uint8", (64,))

    area.reset()

    assert area.reserve("uint8", (64,)) == TensorRef("uint8", (64,), 0, False)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_tensors_without_elements_have_a_place_even_in_a_full_area(shape: tuple[int, ...]) -> None:
    area = Area(memoryview(bytearray(64)))
    area.reserve("uint8", (64,))

    ref = area.reserve("float64", shape)

    assert ref is not None
    assert area.view(ref).shape == shape
    assert area.bytes_at(ref).array().shape == shape


@pytest.mark.parametrize(
    "ref",
    [
        TensorRef("uint8", (65,), 0, False),
        TensorRef("uint8", (1,), 64, False),
        TensorRef("uint8", (1,), 2**64 - 1, False),
        TensorRef("uint8", (2**31 - 1,) * 8, 0, False),
        TensorRef("uint8", (0,), 65, False),
    ],
    ids=["too long", "behind the end", "far away", "huge", "empty and outside"],
)
def test_nobody_looks_outside(ref: TensorRef) -> None:
    area = Area(memoryview(bytearray(64)))

    with pytest.raises(WireError, match="outside the shared memory"):
        area.view(ref)
    with pytest.raises(WireError, match="outside the shared memory"):
        area.bytes_at(ref)


def test_bytes_are_a_copy() -> None:
    memory = bytearray(64)
    area = Area(memoryview(memory))
    ref = area.stack([tensor(1)])
    assert ref is not None

    copy = area.bytes_at(ref)
    memory[:] = bytes(64)

    assert copy.array().tolist() == [[1]]


def test_the_halves_share_nothing() -> None:
    first, second = halves(memoryview(bytearray(10)))

    first[:] = b"\x01" * 5

    assert bytes(second) == bytes(5)
