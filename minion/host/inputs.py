"""Whether an example's inputs are the model's, and which examples may share a batch.

Pure. What was checked once is remembered by names, dtypes and shapes: the next
example of the same shape costs a look-up.
"""

from __future__ import annotations

from collections.abc import Mapping

from minion.host.arena import MAX_BATCH_BYTES
from wire.area import ALIGNMENT
from wire.tensor import Tensor, TensorSpec

#: What an example costs a device beside what grows with its bytes, in bytes: a photo of 38 KB
#: takes half as long as one of 167 KB (docs/benchmarks.md, "What remembering costs and saves").
FIXED_WORK_BYTES = 64 * 1024
#: An axis of any length may bring ever new shapes; past so many all are forgotten.
MAX_KNOWN = 1024


class Group:
    """Examples whose names, dtypes and shapes are equal; one object for each such set."""

    __slots__ = ("size_bytes", "work")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        """What one example takes of a batch's memory."""
        self.work = float(FIXED_WORK_BYTES + size_bytes)
        """What one costs the device, beside another of the same lane."""


class NotTheModels(ValueError):
    """The inputs are not what the model declares; the text is for their sender."""


class Inputs:
    """What a model declares, and the groups met so far."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        self._specs = specs
        self._known: dict[tuple[tuple[str, str, tuple[int, ...]], ...], Group] = {}

    def group(self, inputs: Mapping[str, Tensor]) -> Group:
        """The group of an example with these inputs.

        Raises:
            NotTheModels: a name, dtype or shape is another, or no batch can hold it.
        """
        key = tuple([(name, tensor.dtype, tensor.shape) for name, tensor in inputs.items()])
        found = self._known.get(key)
        if found is None:
            found = Group(self._checked_size(inputs))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = found
        return found

    def _checked_size(self, inputs: Mapping[str, Tensor]) -> int:
        if inputs.keys() != self._specs.keys():
            raise NotTheModels(f"inputs are {sorted(inputs)}, expected {sorted(self._specs)}")
        total = 0
        for name, tensor in inputs.items():
            reason = self._specs[name].mismatch(tensor.dtype, tensor.shape)
            if reason is not None:
                raise NotTheModels(f"input {name!r}: {reason}")
            total += len(tensor.data) + ALIGNMENT
        if total > MAX_BATCH_BYTES:
            raise NotTheModels(f"{total} bytes of input, at most {MAX_BATCH_BYTES} fit")
        return total
