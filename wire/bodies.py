"""Tensors one behind another in a frame's body: laid out by one side, found by the other.

Where they lie in shared memory instead they lie alike. Bytes and places only:
which tensors there are, and of what they are the inputs or the answer, is said
in a head. Used by `examples`, by coordinators that place inputs in memory, and
by workers.
"""

from __future__ import annotations

from typing import Iterable, List, NamedTuple, Sequence, Tuple

from wire.errors import WireError
from wire.tensor import Buffer, Tensor, byte_size, made

TENSOR_ALIGNMENT = 8
_PADDING = bytes(TENSOR_ALIGNMENT)


class Layout(NamedTuple):
    """Where tensors lie in a body; see `body_of`."""

    tensors: Sequence[Tuple[str, Tuple[int, ...], int, int]]
    """dtype, shape, and from where to where."""
    size_bytes: int


def body_of(tensors: Iterable[Tensor]) -> List[Buffer]:
    """The tensors' bytes one after another, each padded to the alignment of the next."""
    body: List[Buffer] = []
    for tensor in tensors:
        body.append(tensor.data)
        rest = -len(tensor.data) % TENSOR_ALIGNMENT
        if rest:
            body.append(_PADDING[:rest])
    return body


def layout_of(declared: Iterable[Tuple[str, Tuple[int, ...]]]) -> Layout:
    """Where tensors of these dtypes and shapes lie. Raises WireError: they cannot be such."""
    tensors, start = [], 0
    for dtype, shape in declared:
        size = byte_size(dtype, shape)
        tensors.append((dtype, shape, start, start + size))
        start += padded(size)
    return Layout(tensors, start)


def cut(body: memoryview, layout: Layout) -> List[Tensor]:
    """The tensors that `body_of` laid out, as views.

    Raises:
        WireError: the body is longer or shorter than what was declared.
    """
    if len(body) != layout.size_bytes:
        raise WireError(
            f"a body of {len(body)} bytes, its tensors take {layout.size_bytes} with padding"
        )
    return [
        made(Tensor, (dtype, shape, body[start:end])) for dtype, shape, start, end in layout.tensors
    ]


def padded(size_bytes: int) -> int:
    """So many bytes, up to the alignment of what follows."""
    return size_bytes + -size_bytes % TENSOR_ALIGNMENT
