"""Whether `demitasse plan` says what then happens.

`python -m benchmarks.forecast`: the platform with a device made of arithmetic records
what comes, first less than it can do and then more; `plan` forecasts three other
settings from that; then each of them is tuned, and the same requests come again, at
the same moments. An open-loop client in a process of its own sees what they get.
Exit status 1: a forecast is off by more than 15 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.openloop import Arrivals, Phase, offer
from benchmarks.overload import REQUEST, capacity, device, settle
from benchmarks.servers import Server, machine

SETTINGS = (
    ("--promise", "0.5s"),
    ("--queue-limit", "20", "--max-batch-size", "4"),
    ("--queue-limit", "30", "--max-batch-size", "2", "--max-queue-delay", "0ms"),
)
CALM, HIGH = 0.8, 1.6
WITHIN = 0.15
#: Coordinators write what they have noted once a second.
WRITTEN_SECONDS = 2.5


class Seen(NamedTuple):
    p95: float
    """Of those who were answered, in seconds."""
    refused: float
    """The part that got a 429."""


def plan(server: Server, setting: Sequence[str], last: float) -> Seen:
    options = (*setting, "--last", f"{last:g}s", "--json")
    asked = json.loads(_demitasse(server, "plan", "device", *options))["asked"]
    return Seen(asked["p95"], asked["refused"])


def live(server: Server, setting: Sequence[str], arrivals: Arrivals) -> Seen:
    _demitasse(server, "tune", "device", *setting)
    seen = offer(server.url, REQUEST, arrivals)
    answered = seen.seconds[seen.status == 200]
    return Seen(float(np.quantile(answered, 0.95)), float((seen.status == 429).mean()))


def _demitasse(server: Server, *arguments: str) -> str:
    home = server.log.parent / "home"
    command = [sys.executable, "-m", "demitasse", *arguments, "--home", str(home)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def off(forecast: float, found: float) -> float:
    return (forecast - found) / found if found else forecast


def show(rows: Sequence[tuple[Sequence[str], Seen, Seen]]) -> bool:
    """Prints them; whether all are near enough."""
    table = Table(title="Forecast and live run", title_justify="left")
    for heading in ("setting", "p95 forecast, s", "live, s", "off", "429 forecast", "live", "off"):
        table.add_column(heading)
    good = True
    for setting, forecast, found in rows:
        late, refused = off(forecast.p95, found.p95), off(forecast.refused, found.refused)
        good &= abs(late) <= WITHIN and abs(refused) <= WITHIN
        table.add_row(
            " ".join(setting), f"{forecast.p95:.3f}", f"{found.p95:.3f}", f"{late:+.1%}",
            f"{forecast.refused:.1%}", f"{found.refused:.1%}", f"{refused:+.1%}",
        )  # fmt: skip
    Console(width=130).print(table)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    told = parser.parse_args()
    print(machine())
    with device() as server:
        rate = capacity(server)
        settle(server)
        time.sleep(WRITTEN_SECONDS)
        began = time.time()
        arrivals = Arrivals([Phase(CALM * rate, told.seconds), Phase(HIGH * rate, told.seconds)])
        offer(server.url, REQUEST, arrivals)
        time.sleep(WRITTEN_SECONDS)
        recorded = time.time() - began
        forecasts = [plan(server, setting, recorded) for setting in SETTINGS]
        found = []
        for setting in SETTINGS:
            settle(server)
            found.append(live(server, setting, arrivals))
    print(f"capacity {rate:.1f} requests/s")
    sys.exit(not show(list(zip(SETTINGS, forecasts, found, strict=True))))


if __name__ == "__main__":
    main()
