"""Runs the commands of one build and writes down what they say.

Knows processes and a log file; which commands make an environment is
`installation`'s to say. A step that fails ends the build with the end of its
log, which is where installers say why.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from envs.errors import BuildFailed

Progress = Callable[[str], None]

_TAIL_LINES = 30  # a resolver's explanation fits; a compiler's output does not, and has the file


class Steps:
    """One build: a fresh log, and steps run one after another in `folder`.

    Args:
        progress: called with every line that a step prints, and with the steps' names.
    """

    def __init__(
        self, folder: Path, log_path: Path, variables: Mapping[str, str], progress: Progress
    ) -> None:
        self._folder = folder
        self._log_path = log_path
        self._variables = variables
        self._progress = progress
        log_path.write_bytes(b"")

    def run(self, step: str, command: Sequence[str]) -> None:
        """Run one command to its end.

        Raises:
            BuildFailed: it could not be started or did not end with 0.
        """
        self._progress(step)
        try:
            status = self._follow(command)
        except OSError as error:
            self._log(str(error))
            status = -1
        if status != 0:
            raise BuildFailed(step, self._log_path, self._tail())

    def _follow(self, command: Sequence[str]) -> int:
        self._log(f"$ {shlex.join(command)}")
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._log(line.rstrip())
                self._progress(line.strip())
        return process.returncode

    def _log(self, line: str) -> None:
        with self._log_path.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def _tail(self) -> str:
        lines = self._log_path.read_text("utf-8").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])
