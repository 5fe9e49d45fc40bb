"""Finds the model's class in its package.

Called once per worker process, before anything of the model is imported.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Type

from minion.model import Model


class LoadError(Exception):
    """The package does not hold the model that its manifest names."""


def find_model(directory: Path, entry: str) -> Type[Model]:
    """The class that `entry` (`module:Class`) names, its module looked for in `directory` first.

    Raises:
        LoadError: no such module or class, or it is not a `Model`.
    """
    module_name, _, class_name = entry.partition(":")
    sys.path.insert(0, str(directory))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise LoadError(f"the package has no module {module_name!r}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise LoadError(f"module {module_name!r} has no class {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, Model)):
        raise LoadError(f"{entry} is not a subclass of minion.model.Model")
    return found
