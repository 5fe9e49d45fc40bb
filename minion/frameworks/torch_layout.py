"""Lays out a compiled network's convolutions ahead of the batches.

oneDNN wants weights in an order of its own. Where a graph is for one batch size, torch's
inductor puts constants into that order once; where it is for any, every batch would do it
anew: with ResNet-18 in bfloat16 2 to 4 ms of each (docs/adr/0012).
"""

from __future__ import annotations

from typing import Any

from minion.frameworks.imports import framework

torch = framework("torch", requirement="torch==2.13.0")


def lay_out_ahead(graph: Any, examples: int) -> None:
    """Lays weights out for batches of any size as for one of so many.

    Another size gets right answers too: oneDNN turns weights that it does not like.

    Args:
        graph: a torch.fx.Graph whose convolutions are oneDNN's already.
    """
    if not torch.backends.mkldnn.is_available():
        return
    convolution = torch.ops.mkldnn._convolution_pointwise.default
    for node in graph.find_nodes(op="call_function", target=convolution):
        weight, shape = node.args[1], node.args[0].meta["val"].shape
        if weight.op == "get_attr" and _only_batches_differ(shape):
            _replace(node, weight, [examples, *shape[1:]])


def _only_batches_differ(shape: Any) -> bool:
    return not isinstance(shape[0], int) and all(isinstance(side, int) for side in shape[1:])


def _replace(node: Any, weight: Any, shape: Any) -> None:
    """Another constant in place of this one, which may have users of other kinds."""
    graph, constants = node.graph, node.graph.owning_module
    padding, stride, dilation, groups = node.args[3:7]
    name = f"{weight.target}_of_{node.name}"
    ordered = torch.ops.mkldnn._reorder_convolution_weight(
        getattr(constants, weight.target), padding, stride, dilation, groups, shape
    )
    constants.register_buffer(name, ordered)
    with graph.inserting_before(node):
        replacement = graph.get_attr(name)
    replacement.meta.update(weight.meta)
    node.replace_input_with(weight, replacement)
    if not weight.users:
        graph.erase_node(weight)
