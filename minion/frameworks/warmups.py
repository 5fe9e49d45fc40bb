"""Which batch sizes a compiled network has to have seen before its version takes traffic.

Knows no framework.
"""

from __future__ import annotations

from typing import List

#: CUDA graphs: a call that compiles or warms up, one that records, and one that replays.
CALLS_PER_GRAPH = 3


def compiled_sizes(max_batch_size: int) -> List[int]:
    """One, which is compiled by itself, and the largest, which stands for all the others."""
    return sorted({1, max_batch_size})


def recorded_sizes(max_batch_size: int) -> List[int]:
    """A graph is recorded for every size; the largest comes early, since it compiles for all."""
    sizes = compiled_sizes(max_batch_size)
    sizes += range(2, max_batch_size)
    return [size for size in sizes for _ in range(CALLS_PER_GRAPH)]
