"""A virtual environment for each peer, and for our model: built once, kept in the user's cache.

The platform's own builder makes them, from the requirements file in the
peer's folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from envs.builder import EnvironmentStore
from envs.spec import resolve


def cache() -> Path:
    """What outlives a run: environments and results."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "demitasse-benchmarks"


def interpreter(requirements: Path, *, python: str = ">=3.11,<3.12") -> Path:
    """The Python of the environment with these requirements.

    Args:
        python: the torch build without CUDA that is pinned exists for 3.11.

    Raises:
        BuildFailed: names the log.
    """
    spec = resolve(python, requirements.read_text())
    return EnvironmentStore(cache() / "envs").ensure(spec, progress=print).python
