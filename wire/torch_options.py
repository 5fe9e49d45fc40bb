"""How a ready-made torch base computes: `[torch]` of model.toml, on its way to the worker.

The manifest, the host's spec and the frame that a worker loads from hold the same value,
which is checked here, where all three can reach it. Knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

PRECISIONS = ("float16", "bfloat16")
#: Modes of torch.compile by their names there.
COMPILE_MODES = ("default", "reduce-overhead")


@dataclass(frozen=True)
class TorchOptions:
    """None: as the network comes from the author.

    Raises:
        ValueError: names the field and what would be accepted.
    """

    precision: Optional[str] = None
    """What weights and floating inputs are turned into: `float16` or `bfloat16`."""
    compile: Optional[str] = None
    """`default`, or `reduce-overhead`: with CUDA graphs on a GPU."""

    def __post_init__(self) -> None:
        _check("precision", self.precision, PRECISIONS)
        _check("compile", self.compile, COMPILE_MODES)


def _check(name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value is not None and value not in accepted:
        raise ValueError(f"torch.{name} is {value!r}; expected one of {', '.join(accepted)}")
