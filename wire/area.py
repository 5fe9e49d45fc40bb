"""Tensors in a stretch of memory that two processes share.

An `Area` places arrays one behind another and says where, in a `TensorRef`;
the area on the other side turns that reference into a view. Pure placement
over a buffer that somebody else mapped. One side places, the other only looks,
and `reset` is called by the side that places once nobody looks any more.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from wire.batches import TensorRef
from wire.errors import WireError
from wire.tensor import DTYPES, Tensor, byte_size

#: Cache line, and what vector instructions and oneDNN like best.
ALIGNMENT = 64


class Area:
    """A bump allocator over `memory`, or over its bytes from `start` to `end`.

    Offsets count from the start of `memory`, whatever part of it is used.
    """

    def __init__(self, memory: memoryview, start: int = 0, end: Optional[int] = None) -> None:
        self._memory = memory
        self._start = start
        self._end = len(memory) if end is None else end
        self._used = start

    def reset(self) -> None:
        """Everything placed so far may be overwritten from now on."""
        self._used = self._start

    def reserve(self, dtype: str, shape: Tuple[int, ...]) -> Optional[TensorRef]:
        """Room for one tensor, or None where it does not fit any more."""
        size = byte_size(dtype, shape)
        start = self._used
        if start + size > self._end:
            return None
        self._used = start + size + -size % ALIGNMENT
        return TensorRef(dtype, shape, start, False)

    def view(self, ref: TensorRef) -> np.ndarray:
        """The tensor at `ref`, over the shared memory itself.

        Raises:
            WireError: it does not lie in this memory.
        """
        if ref.offset + byte_size(ref.dtype, ref.shape) > len(self._memory):
            raise WireError("a tensor lies outside the shared memory")
        count = 1
        for dimension in ref.shape:
            count *= dimension
        array = np.frombuffer(self._memory, DTYPES[ref.dtype], count, ref.offset)
        return array.reshape(ref.shape)

    def stack(self, tensors: Sequence[Tensor]) -> Optional[TensorRef]:
        """Copies tensors of equal dtype and shape side by side, as one with a batch axis."""
        first = tensors[0]
        ref = self.reserve(first.dtype, (len(tensors), *first.shape))
        if ref is None:
            return None
        size = len(first.data)
        position = ref.offset
        for tensor in tensors:
            self._memory[position : position + size] = tensor.data
            position += size
        return ref

    def bytes_at(self, ref: TensorRef) -> Tensor:
        """A copy of the tensor at `ref`, owned by the caller.

        Raises:
            WireError: as `view`.
        """
        end = ref.offset + byte_size(ref.dtype, ref.shape)
        if end > len(self._memory):
            raise WireError("a tensor lies outside the shared memory")
        return Tensor(ref.dtype, ref.shape, bytes(self._memory[ref.offset : end]))


def halves(memory: memoryview) -> List[memoryview]:
    """The part that the host writes and the part that the worker writes."""
    middle = len(memory) // 2
    return [memory[:middle], memory[middle:]]


def slots(half: memoryview) -> List[Area]:
    """A half in two: the batch with id `n` uses slot `n % 2`, so that two may be under way."""
    middle = len(half) // 2
    return [Area(half, 0, middle), Area(half, middle)]
