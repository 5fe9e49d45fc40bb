"""Takes the border out of a compiled network's max pooling.

Around an image inductor finds -inf, and loads every element of every window under a mask:
pooling takes three to six times as long as without. With the edge repeated instead nothing
is masked, and the largest stays the same: who looks beyond the edge has its own
element in the window (docs/adr/0012).
"""

from __future__ import annotations

from typing import Any

from minion.frameworks.imports import framework

torch = framework("torch", requirement="torch==2.13.0")

#: Height and width, from the end.
_SIDES = (-2, -1)


def repeat_edges(graph: Any) -> None:
    """graph: a torch.fx.Graph of inductor, whose nodes have their shapes at `meta["val"]`."""
    pooling = getattr(torch.ops.prims, "_low_memory_max_pool_with_offsets", None)
    if pooling is None:  # in another torch, pooling is called otherwise, and stays as it is
        return
    for node in graph.find_nodes(op="call_function", target=pooling.default):
        image, kernel, stride, padding, dilation, ceil_mode = node.args
        shape = image.meta["val"].shape
        known = all(isinstance(shape[side], int) for side in _SIDES)
        # A window with gaps may step over the edge, and one that is rounded up begin beyond it.
        plain = list(dilation) == [1, 1] and not ceil_mode
        if any(padding) and known and plain and _only_values(node):
            with graph.inserting_before(node):
                padded = _padded(image, padding)
            node.args = (padded, kernel, stride, [0, 0], dilation, ceil_mode)


def _only_values(node: Any) -> bool:
    """Whether nobody asks where in its window the largest was."""
    return all(user.args[1] == 0 for user in node.users)


def _padded(image: Any, padding: Any) -> Any:
    """image: (..., h, w). With the edge's elements once more for each place beyond it."""
    graph, shape, aten = image.graph, image.meta["val"].shape, torch.ops.aten
    for side, beyond in zip(_SIDES, padding):
        length = shape[side] + 2 * beyond
        counted = {"start": -beyond, "step": 1, "dtype": torch.int64}
        counted.update(device=torch.device("cpu"), requires_grad=False)
        places = graph.call_function(torch.ops.prims.iota.default, (length,), counted)
        places = graph.call_function(aten.clamp_min.default, (places, 0))
        places = graph.call_function(aten.clamp_max.default, (places, shape[side] - 1))
        index = [None] * len(shape)
        index[side] = places
        image = graph.call_function(aten._unsafe_index.Tensor, (image, index))
    return image
