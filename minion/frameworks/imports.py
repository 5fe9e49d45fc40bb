"""Imports a framework, or says which line is missing from requirements.txt.

Used by the bases beside it. The platform's own environment holds no framework,
so they are looked up by name, as untyped modules.
"""

from __future__ import annotations

import importlib
from typing import Any


def framework(module: str, *, requirement: str) -> Any:
    """The module of that name.

    Raises:
        ImportError: it is not installed; the text names the requirement to add.
            One that is installed and fails to import raises what it raises.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f"this environment has no {module}: add {requirement} to the package's "
            "requirements.txt and name that file under [environment] in model.toml"
        ) from missing


def cuda_index(device: str) -> int:
    """0 for `cuda` and `cuda:0`, 1 for `cuda:1`, -1 for `cpu`.

    Raises:
        ValueError: any other device.
    """
    kind, _, index = device.partition(":")
    if device == "cpu":
        return -1
    if kind == "cuda" and (index.isdigit() or device == "cuda"):
        return int(index or 0)
    raise ValueError(f"device is {device!r}, expected cpu, cuda or cuda:N")
