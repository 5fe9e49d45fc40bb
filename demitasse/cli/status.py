"""`status`: what runs under a home, as its supervisor last wrote it down."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from coordinator.config import load_settings
from demitasse.cli.console import print_json, remark, say, show
from demitasse.cli.options import AsJson, Home
from demitasse.cli.processes import last_words, process_table

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.status import Status

#: What init scripts say for "not running" (LSB 5.0, 22.2), as systemctl does.
NOT_RUNNING = 3


def status(home: Home = None, as_json: AsJson = False) -> None:
    """Every process with role, model, version, pid, address and state. Exit status 3: none runs."""
    from deploy.status import read_status

    settings = load_settings(home=home)
    found = read_status(settings.home)
    if as_json:
        print_json({"home": str(settings.home), **asdict(found)})
    else:
        _print(found, settings.home)
    if not found.running:
        raise typer.Exit(NOT_RUNNING)


def _print(found: Status, home: Path) -> None:
    if not found.running:
        remark(f"nothing runs on {home}; start the platform with `demitasse up`")
        return
    say(f"API {found.url}, admin {found.admin_url}, home {home}\n")
    show(process_table(found.processes))
    for line in last_words(found.processes):
        say(line)
