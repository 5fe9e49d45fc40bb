"""A network that `torch.compile` has made faster, and where what that took is kept.

Used by `TorchModel` for `compile` under `[torch]` of model.toml.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from minion.frameworks.imports import framework
from minion.frameworks.torch_layout import lay_out_ahead

torch = framework("torch", requirement="torch==2.13.0")

#: Lines of /proc/cpuinfo that say what a processor can, by architecture.
ABILITIES = ("flags", "Features")


def compiled(network: Any, mode: str, device: Any, max_batch_size: int) -> Any:
    """The network, to be compiled for the first batches that it is called with.

    On a CPU its weights become constants: those of a normalisation are folded into the
    convolution before it, and all are laid out once as the instructions want them. So
    it has to be called in inference mode, and its weights may not change any more.
    """
    _keep()
    # Or it starts as many processes as there are cores, and they stay.
    torch._inductor.config.compile_threads = 1
    # Those would be made anew by every worker, for longer than they save.
    torch._inductor.config.cpp_cache_precompile_headers = False
    if device.type == "cpu":
        torch._inductor.config.freezing = True
        lay_out_ahead(max_batch_size)
    return torch.compile(network, mode=mode)


def _keep() -> None:
    """What the C++ compiler makes stays in the environment, for the next worker that wants it.

    torch would put it into the folder for temporary files, which goes with the worker. It
    finds it by its source, and locks what it writes; that it was made for this very processor
    is left to the folder's name. Where the environment may not be written to, every worker
    compiles anew.
    """
    if os.access(sys.prefix, os.W_OK):
        folder = os.path.join(sys.prefix, "compiled", _processor())
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder


def _processor() -> str:
    """The same for processors that can do the same."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    able = next((line for line in lines if line.startswith(ABILITIES)), "")
    return hashlib.sha256(able.encode()).hexdigest()[:16]
