"""What an environment is made from, and the name that follows from it.

Two specs with the same fingerprint are interchangeable. Builds nothing. Called
by whoever starts minions, for `builder` to make it true.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from envs.errors import SpecError
from envs.interpreters import Interpreter, find_interpreter
from envs.requirements import normalise
from envs.sources import InstallOptions, pip_options

__all__ = ["EnvironmentSpec", "SpecError", "resolve"]


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """All that an environment is made from."""

    interpreter: Interpreter
    requirements: tuple[str, ...]
    """Normalised and sorted, the kit's among them."""
    options: InstallOptions

    def fingerprint(self) -> str:
        """Equal for specs whose environments are interchangeable; short enough for a path."""
        parts = asdict(self)
        # The same interpreter elsewhere, or another certificate, makes no other environment.
        del parts["interpreter"]["path"], parts["options"]["cert"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def resolve(python: str | None, requirements: str | None) -> EnvironmentSpec:
    """The environment for a package.

    Args:
        python: a version or a range; None for the platform's own interpreter.
        requirements: the text of a requirements file; None for none.

    Raises:
        InvalidPython, InvalidRequirements: the package is at fault.
        PythonNotFound: names the interpreters that there are.
    """
    return EnvironmentSpec(find_interpreter(python), normalise(requirements or ""), pip_options())
