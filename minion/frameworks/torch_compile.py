"""A network that `torch.compile` has made faster.

Used by `TorchModel` for `compile` under `[torch]` of model.toml.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minion.frameworks.imports import framework
from minion.frameworks.torch_layout import lay_out_ahead
from minion.frameworks.torch_pooling import repeat_edges

torch = framework("torch", requirement="torch==2.13.0")


def compiled(network: Any, mode: str, device: Any, max_batch_size: int) -> Any:
    """The network, to be compiled for the first batches that it is called with.

    On a CPU its weights become constants: those of a normalisation are folded into the
    convolution before it, and all are laid out once as the instructions want them. So
    it has to be called in inference mode, and its weights may not change any more.
    """
    # Or it starts as many processes as there are cores, and they stay.
    torch._inductor.config.compile_threads = 1
    # Those would be made anew by every worker, for longer than they save.
    torch._inductor.config.cpp_cache_precompile_headers = False
    if device.type == "cpu":
        torch._inductor.config.freezing = True
        # A pass that the author has put there stays instead.
        if torch._inductor.config.post_grad_custom_pre_pass is None:
            rewrite = partial(_rewrite, max_batch_size=max_batch_size)
            torch._inductor.config.post_grad_custom_pre_pass = rewrite
    return torch.compile(network, mode=mode)


def _rewrite(graph: Any, max_batch_size: int) -> None:
    """graph: a torch.fx.Graph on its way to the C++ compiler."""
    lay_out_ahead(graph, max_batch_size)
    repeat_edges(graph)
