"""Why there is no environment for a package.

EnvironmentUnavailable
  SpecError                 what is asked for cannot be had
    InvalidPython           neither a version nor a range of versions
    InvalidRequirements     a line that cannot be installed anywhere else
    PythonNotFound          this machine lacks the interpreter
  BuildFailed               a step of the build failed
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class EnvironmentUnavailable(Exception):
    """A package cannot have its environment."""

    code: ClassVar[str]


class SpecError(EnvironmentUnavailable):
    """What a package asks for cannot be had on this machine."""


class InvalidPython(SpecError):
    """Neither a version of Python nor a range of versions."""

    code = "invalid-python"
    expected = 'a version such as "3.11" or a range such as ">=3.11,<3.13", from 3.9'

    def __init__(self, python: str) -> None:
        super().__init__(f"{python!r} is not {self.expected}")


class InvalidRequirements(SpecError):
    """A requirement that cannot be installed on another machine than the author's."""

    code = "invalid-requirements"


class PythonNotFound(SpecError):
    """No interpreter of this machine fits."""

    code = "python-not-found"


class BuildFailed(EnvironmentUnavailable):
    """An environment could not be built; the message ends with the end of the log."""

    code = "environment-build-failed"

    def __init__(self, step: str, log_path: Path, tail: str) -> None:
        super().__init__(f"{step} failed; {log_path} ends with:\n{tail}")
        self.step = step
        self.log_path = log_path
        self.tail = tail
