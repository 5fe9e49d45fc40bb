"""A network that `torch.compile` has made faster.

Used by `TorchModel` for `compile` under `[torch]` of model.toml.
"""

from __future__ import annotations

from typing import Any

from minion.frameworks.imports import framework
from minion.frameworks.torch_layout import lay_out_ahead

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
        lay_out_ahead(max_batch_size)
    return torch.compile(network, mode=mode)
