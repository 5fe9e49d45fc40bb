"""What there is to say and to show about processes: facts in, lines and tables out.

Shared by `up` and `status`. No clock, no terminal: whoever calls prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from demitasse.cli.console import table

if TYPE_CHECKING:
    from rich.table import Table

    from deploy.status import ProcessInfo

_GOOD = ("running", "ready", "idle", "busy")
_BAD = ("failed", "failing", "hung", "restarting", "ended")
_STYLES = dict.fromkeys(_GOOD, "green") | dict.fromkeys(_BAD, "red")
#: A minion in one of these stays in it until somebody does something.
_SETTLED = ("ready", "failed", "failing")
#: Roles of those that have a queue.
WITH_MODEL = ("minion", "decoder")


def process_table(processes: Sequence[ProcessInfo]) -> Table:
    return table(
        ("role", "model", "version", "pid", "address", "state", "detail"),
        (
            (
                f"  {each.role}" if each.role == "worker" else each.role,
                each.model,
                each.version,
                each.pid,
                each.address,
                Text(each.state, style=_STYLES.get(each.state, "yellow")),
                _brief(each.detail),
            )
            for each in processes
        ),
    )


def last_words(processes: Sequence[ProcessInfo]) -> list[str]:
    """What workers printed before they ended, of the minions where none stays."""
    lines = []
    for each in processes:
        if each.last_lines:
            lines += ["", f"{each.model} {each.version}, the last lines of its worker:"]
            lines += [f"  {line}" for line in each.last_lines]
    return lines


def _brief(detail: str) -> str:
    """Of several lines the first, which says what failed and where its log is, and the last."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    return " ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else ""


_NO_PID_YET = "coordinator"


class Change(NamedTuple):
    """Something new about a process, as a line."""

    line: str
    bad: bool = False
    """Whether somebody should look at it."""


class Narrator:
    """Turns one look at the processes after another into what is new since the last.

    Workers are not narrated: they go from idle to busy and back with every batch. Nor are
    templates, which nobody waits for.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._summary = ""

    def changes(self, processes: Sequence[ProcessInfo]) -> list[Change]:
        """One for every process whose state is another than before."""
        states = {}
        changes = []
        for name, process in _named(processes):
            states[name] = process.state
            if self._states.get(name) != process.state:
                changes.append(Change(_line(name, process), process.state in _BAD))
        gone = (name for name in self._states if name not in states and name != _NO_PID_YET)
        changes += [Change(f"{name}: gone") for name in gone]
        self._states = states
        return changes

    def summary(self, processes: Sequence[ProcessInfo]) -> str | None:
        """How many models are ready, once none of them is under way; None if that is not new."""
        minions = [each for each in processes if each.role in WITH_MODEL]
        settled = bool(minions) and all(each.state in _SETTLED for each in minions)
        summary = _summary(minions) if settled else ""
        if summary == self._summary:
            return None
        self._summary = summary
        return summary or None


def _named(processes: Sequence[ProcessInfo]) -> list[tuple[str, ProcessInfo]]:
    named = []
    for process in processes:
        if process.role == "coordinator":  # another one takes its place now and then
            name = _NO_PID_YET if process.pid is None else f"{_NO_PID_YET} {process.pid}"
            named.append((name, process))
        elif process.role == "minion":
            named.append((f"{process.model} {process.version}", process))
        elif process.role not in ("worker", "template"):
            named.append((process.role, process))
    return named


def _line(name: str, process: ProcessInfo) -> str:
    detail = f", {process.detail}" if process.detail else ""
    known = process.pid is not None and process.role != "coordinator"
    pid = f" (pid {process.pid})" if known else ""
    return f"{name}: {process.state}{pid}{detail}"


def _summary(minions: Sequence[ProcessInfo]) -> str:
    broken = [each for each in minions if each.state != "ready"]
    models = len({each.model for each in minions if each.role == "minion"})
    if broken:
        names = ", ".join(
            f"{each.model} {each.version}" if each.role == "minion" else each.role
            for each in broken
        )
        return f"not ready: {names}; `demitasse status` says why"
    if not models:
        return "no models are served yet; publish one with `demitasse publish DIR`"
    return "ready: 1 model" if models == 1 else f"ready: {models} models"
