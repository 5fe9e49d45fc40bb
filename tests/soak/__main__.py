"""`make soak`: what a platform holds after a million mixed requests that it did not hold before.

A fifth of the requests are bad, one in twenty callers hangs up, the others send numbers,
tensors and photos in every way and know what is right (`mixture`). After each tenth, when
nobody asks any more, every process is looked at: resident memory, descriptors, threads,
shared memory. The first fifth warms up. Fails where the memory of one grew by more than 2 %
or 10 MB, or anything else did; where a gauge is not at zero, a good request was not answered
rightly, or anybody got a 5xx that is not meant; and where anything is left after its end.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.acceptance.platform import Platform, running
from tests.soak.held import State, findings, memory_findings
from tests.soak.mixture import SETTINGS, packages
from tests.soak.soaking import roles, soak

PIECES, WARM = 10, 2
#: Before the looks that are compared: workers give back what they have freed after 20 seconds,
#: coordinators every 10.
RESTS = dict.fromkeys((WARM, PIECES), 25.0)
_SHOWN = 40
console = Console(width=140)


def show(platform: Platform, states: list[State]) -> None:
    named = roles(platform)
    table = Table("process", "pid", "MB", "growth", "shared", "descriptors", "memories", "threads")
    for pid, first in states[WARM].processes.items():
        each = [state.processes[pid] for state in states[1:] if pid in state.processes]
        last = each[-1]
        table.add_row(
            named.get(pid, "beside them"),
            str(pid),
            " ".join(f"{one.memory_bytes / 1e6:.1f}" for one in each),
            f"{last.memory_bytes / first.memory_bytes - 1:+.1%}" if first.memory_bytes else "",
            " ".join(f"{one.shared_bytes / 1e6:.1f}" for one in (first, last)),
            f"{first.descriptors} {last.descriptors}",
            f"{first.shared} {last.shared}",
            f"{first.threads} {last.threads}",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    told = parser.parse_args()
    console.print(f"--seed {told.seed} --count {told.count}")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        models = packages(folder / "packages")
        with running(folder / "home", models, settings=SETTINGS) as platform:
            states, seen, wrong = soak(platform, told.seed, told.count, PIECES, RESTS)
            show(platform, states)
            for answer, count in sorted(seen.items()):
                console.print(f"{count:8} {answer}")
            wrong += findings(states[WARM], states[-1]) + memory_findings(states[WARM], states[-1])
            for each in wrong[:_SHOWN]:
                console.print(each, markup=False)
            console.print(f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
