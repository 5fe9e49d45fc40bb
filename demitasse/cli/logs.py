"""`logs`: what the processes of a home have written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Self

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import remark
from demitasse.cli.failures import CommandError
from demitasse.cli.options import Home

_POLL_SECONDS = 0.2


def logs(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A model, NAME@VERSION, `coordinator` or `decoder`."),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show more.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of each file.")] = 50,
    home: Home = None,
) -> None:
    """The last lines of a process's log; of several files each line says from which."""
    folder = load_settings(home=home).home / "logs"
    files = find_logs(folder, name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))  # the way to end --follow
        readers = [stack.enter_context(LogReader(file)) for file in files]
        for reader in readers:
            _print(reader, reader.last(lines), len(readers) > 1)
        if not follow and not any(file.stat().st_size for file in files):
            remark(f"{', '.join(map(str, files))}: nothing was written yet")
        while follow:
            time.sleep(_POLL_SECONDS)
            for reader in readers:
                _print(reader, reader.more(), len(readers) > 1)


def find_logs(folder: Path, name: str) -> list[Path]:
    """The files of a model, of one version of it, or of a process.

    Raises:
        CommandError: there are none; lists what there is.
    """
    model, _, version = name.partition("@")
    number = re.escape(f"-{version}") if version else r"(-\d+\.\d+\.\d+)?"
    pattern = re.compile(rf"{re.escape(model)}{number}-\d+")
    there = sorted(folder.glob("*.log"))
    found = [file for file in there if file.stem == name or pattern.fullmatch(file.stem)]
    if not found:
        names = ", ".join(file.stem for file in there) or "none"
        raise CommandError(
            f"no log of {name!r} in {folder}; there is {names}. "
            "A model's log begins when its environment is there and its host has started"
        )
    return found


class LogReader:
    """One log file, which may be begun anew while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def last(self, count: int) -> Iterable[str]:
        """Its last lines; what comes after them is for `more`."""
        return deque(self._file, maxlen=count)

    def more(self) -> Iterator[str]:
        """What was written since."""
        yield from self._file
        if self._begun_anew():
            self._file.close()
            self._file = _open(self.path)
            yield from self._file

    def _begun_anew(self) -> bool:
        try:
            there, ours = self.path.stat(), os.fstat(self._file.fileno())
            return there.st_ino != ours.st_ino or there.st_size < self._file.tell()
        except FileNotFoundError:
            return False


def _open(path: Path) -> IO[str]:
    return path.open(encoding="utf-8", errors="replace")


def _print(reader: LogReader, lines: Iterable[str], named: bool) -> None:
    prefix = f"{reader.path.stem}: " if named else ""
    for line in lines:
        print(prefix + readable(line), flush=True)


def readable(line: str) -> str:
    """A line as people read it; of a JSON object, its parts in order, a traceback below.

    What callers and models wrote is in there: nothing that a terminal would obey is left.
    """
    try:
        said = json.loads(line)
        start = [said.pop(key) for key in ("time", "level", "logger", "message")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return _harmless(line.rstrip("\n"))
    error = said.pop("error", None)
    facts = [f"{name}={value!r}" for name, value in said.items()]
    first = _harmless(" ".join(map(str, (*start, *facts))))
    return "\n".join([first, *map(_harmless, str(error).splitlines())] if error else [first])


def _harmless(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
        for each in text
    )
