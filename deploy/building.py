"""An environment, built by a process of its own: one that can be ended at any moment.

`build` is called by the supervisor; `main` is that process. Between them go
lines of JSON. How an environment is built is `envs`' business.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from envs.builder import EnvironmentStore
from envs.errors import EnvironmentUnavailable
from envs.spec import resolve
from wire.lifetimes import end_with_parent

#: Of one line between the two; what a resolver explains is some kilobytes.
_MAX_LINE_BYTES = 2**20
_MAX_TEXT = 64 * 1024


class NotBuilt(Exception):
    """There is no environment; the text says why."""


class Said(msgspec.Struct, omit_defaults=True):
    """One line of the building process. The last one has `python` or `failure`."""

    progress: str | None = None
    python: str | None = None
    """The environment's interpreter."""
    failure: str | None = None


async def build(
    root: Path,
    python: str | None,
    requirements: Path | None,
    *,
    log: Path,
    progress: Callable[[str], None],
) -> str:
    """The interpreter of an environment, which is built if it is missing.

    Cancelled, it ends the build and all that this has started.

    Args:
        root: of the environments of this machine.
        python: the version or range that the package asks for.
        requirements: the package's file.
        log: for why there is no environment, and what goes wrong with the building process itself.

    Raises:
        NotBuilt: the text ends with the end of the installer's log.
    """
    words = [sys.executable, "-P", "-m", "deploy.building", str(root)]
    words += ["--python", python] if python else []
    words += ["--requirements", str(requirements)] if requirements else []
    try:
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,
            )
    except OSError as error:
        raise NotBuilt(f"the build cannot be started: {error}") from error
    try:
        return await _followed(process, log, progress)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _followed(
    process: asyncio.subprocess.Process, log: Path, progress: Callable[[str], None]
) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        said = msgspec.json.decode(line, type=Said)
        if said.python is not None:
            return said.python
        if said.failure is not None:
            raise NotBuilt(said.failure)
        progress(said.progress or "")
    raise NotBuilt(f"the build ended with status {await process.wait()}; see {log}")


def main() -> int:
    arguments = _arguments()
    _die_with_the_supervisor()
    requirements = arguments.requirements
    try:
        spec = resolve(arguments.python, requirements.read_text("utf-8") if requirements else None)
        environment = EnvironmentStore(arguments.root).ensure(
            spec, progress=lambda line: _say(Said(progress=line))
        )
    except (EnvironmentUnavailable, OSError) as error:
        print(error, file=sys.stderr)  # the log of whoever wanted it
        _say(Said(failure=str(error)[-_MAX_TEXT:]))
        return 1
    _say(Said(python=str(environment.python)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy.building", description="Builds an environment.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--requirements", type=Path)
    return parser.parse_args()


def _die_with_the_supervisor() -> None:
    """And with us the installer, which would go on to write where the next build begins."""
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    end_with_parent(by=signal.SIGTERM)


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
