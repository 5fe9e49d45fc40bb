"""What was measured, kept between runs: a run replaces what it measures again.

One JSON file in the cache. Tables are written from it, so that a few servers can
be measured anew without the others; each server's figures say when.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environments import cache
from benchmarks.peers.measure import Figures


def default_file() -> Path:
    return cache() / "peers.json"


class Outcome(NamedTuple):
    """One server under more requests than it can answer."""

    offered: float
    """Requests that set out, per second."""
    goodput: float
    """Good answers per second."""
    statuses: dict[str, int]
    """How many answers of each status; "late", "lost" (no answer), "given up"."""


@dataclass(frozen=True)
class Entry:
    """One server in one setting."""

    server: str
    item: str
    workers: int
    lent: str
    run: str
    """When its run began: only figures of one run are compared."""
    machine: str
    client: str
    load_average: float
    """Of the minute before: the cores may be shared."""
    rounds: int
    seconds: float
    cells: dict[str, Figures] = field(default_factory=dict)
    """By connections; "0" of an offline loop."""
    overload: dict[str, Outcome] = field(default_factory=dict)
    """By multiples of the server's own peak."""
    start_seconds: float = 0.0
    idle_cores: float = 0.0
    memory_mib: float = 0.0
    cannot_start: str = ""

    def key(self) -> tuple[str, str, int, str]:
        return self.item, self.server, self.workers, self.lent


def read(file: Path) -> list[Entry]:
    """What was measured; nothing where there is no such file.

    Raises:
        SystemExit: it holds something else, such as what another release has measured.
    """
    if not file.exists():
        return []
    try:
        return [_entry(each) for each in json.loads(file.read_text())]
    except (ValueError, TypeError, KeyError) as error:
        raise SystemExit(
            f"{file} holds no results of this release ({error!r}): remove it, or name another "
            "file with --results"
        ) from error


def merge(file: Path, new: list[Entry]) -> list[Entry]:
    """Write new entries over old ones of the same setting; what the file holds then."""
    entries = {each.key(): each for each in [*read(file), *new]}
    found = [entries[key] for key in sorted(entries)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    return found


def _entry(told: dict[str, Any]) -> Entry:
    # json writes a named tuple as a list.
    cells = {count: Figures(*each) for count, each in told["cells"].items()}
    overload = {factor: Outcome(*each) for factor, each in told["overload"].items()}
    return Entry(**{**told, "cells": cells, "overload": overload})
