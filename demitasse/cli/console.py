"""How commands print: tables for people, JSON for programs, plain text into pipes.

Results go to standard output; progress and remarks to standard error. On a pipe
nothing is wrapped or cut, so that grep and awk see whole lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wide enough that no cell is ever cut where there is no terminal to fit into.
_PIPE_WIDTH = 10_000


def open_console(file: IO[str]) -> Console:
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """One line of result."""
    print(text)


def remark(text: str) -> None:
    """What is not the result: hints, progress."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; None prints as a dash."""
    show(table(headings, rows))


def show(drawn: Table) -> None:
    """A table as a result; on a pipe its lines end where their text does."""
    console = open_console(sys.stdout)
    if console.is_terminal:
        console.print(drawn)
        return
    with console.capture() as captured:
        console.print(drawn)
    for line in captured.get().splitlines():
        print(line.rstrip())


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row))
    return drawn


def _cell(value: object) -> Text:
    if value is None or value == "":
        return Text("-", style="dim")
    return value if isinstance(value, Text) else Text(str(value))


def admission(promise: float | None, queue_limit: int | None, now: Sequence[int] = ()) -> str:
    """What governs who is let in.

    Args:
        promise: in seconds; None where the queue limit governs.
        now: the limits that follow from the promise at present, one for each replica that
            was asked.
    """
    if promise is None:
        return f"queue limit {queue_limit}"
    limits = f" (limit {', '.join(map(str, now))} now)" if now else ""
    return f"promise {promise:g} s{limits}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"


def size(count: int) -> str:
    """Bytes, in the unit that gives one to four digits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
