"""A torch network that computes in half precision, called with and answering in whole.

Used by `TorchModel` for `precision` under `[torch]` of model.toml.
"""

from __future__ import annotations

from typing import Any

from minion.frameworks.imports import framework

torch = framework("torch", requirement="torch==2.13.0")


class InPrecision(torch.nn.Module):  # type: ignore[name-defined, misc]  # no torch to look at
    """Floating inputs are turned into `precision`, floating outputs into float32.

    In the network's own module, so that a compiled one does it in its first and last kernels.
    """

    def __init__(self, network: Any, precision: str) -> None:
        super().__init__()
        self.dtype = getattr(torch, precision)
        self.network = network.to(self.dtype)

    def forward(self, inputs: Any) -> Any:
        return floating(self.network(floating(inputs, self.dtype)), torch.float32)


def floating(value: Any, dtype: Any) -> Any:
    """A tensor, or lists, tuples and dicts of tensors, the floating ones in another dtype."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(floating(each, dtype) for each in value)
    if type(value) is dict:
        return {name: floating(each, dtype) for name, each in value.items()}
    return value
