"""`status`: what runs under a home, as its supervisor last wrote it down, and what it lets in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import print_json, print_table, remark, say, show
from demitasse.cli.limits import Admissions, governing, read_admissions
from demitasse.cli.options import AsJson, Home
from demitasse.cli.processes import WITH_MODEL, last_words, process_table

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.status import ProcessInfo, Status

#: What init scripts say for "not running" (LSB 5.0, 22.2), as systemctl does.
NOT_RUNNING = 3


def status(home: Home = None, as_json: AsJson = False) -> None:
    """Every process and its state, and what each model lets in. Exit status 3: none runs."""
    from deploy.status import read_status

    settings = load_settings(home=home)
    found = read_status(settings.home)
    admissions = read_admissions(found, settings)
    if as_json:
        processes = [_document(each, admissions) for each in found.processes]
        print_json({"home": str(settings.home), **asdict(found), "processes": processes})
    else:
        _print(found, settings.home, admissions)
    if not found.running:
        raise typer.Exit(NOT_RUNNING)


def _admitted(process: ProcessInfo, admissions: Admissions) -> list[dict[str, Any]]:
    if process.role not in WITH_MODEL:
        return []
    return admissions.get((process.model, process.version), [])


def _document(process: ProcessInfo, admissions: Admissions) -> dict[str, Any]:
    return {**asdict(process), "admission": _admitted(process, admissions)}


def _print(found: Status, home: Path, admissions: Admissions) -> None:
    if not found.running:
        remark(f"nothing runs on {home}; start the platform with `demitasse up`")
        return
    say(f"API {found.url}, admin {found.admin_url}, home {home}\n")
    show(process_table(found.processes))
    admitted = [(each, _admitted(each, admissions)) for each in found.processes]
    if any(found for _, found in admitted):
        say("")
        print_table(
            ("model", "version", "admission"),
            ((each.model, each.version, governing(found)) for each, found in admitted if found),
        )
    for line in last_words(found.processes):
        say(line)
