"""`explain`: what became of one request, and why."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from coordinator.config_sources import load_settings
from coordinator.credentials import admin_key
from demitasse.cli.console import print_json, print_table, say
from demitasse.cli.failures import CommandError
from demitasse.cli.options import AsJson, Home

RequestId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The request_id of the answer, or its X-Request-Id."),
]


def explain(id: RequestId, home: Home = None, as_json: AsJson = False) -> None:
    """What became of a request of the last minutes: where its time went, and why it was refused."""
    from demitasse.client import call, open_http
    from deploy.status import read_status

    settings = load_settings(home=home)
    status = read_status(settings.home)
    if not status.running or status.admin_url is None:
        raise CommandError(
            f"nothing runs on {settings.home}, and records last no longer than the platform"
        )
    with open_http(status.admin_url, key=admin_key(settings)) as http:
        found = call(http, "GET", f"/requests/{quote(id, safe='')}")
    if as_json:
        print_json(found)
        return
    for number, record in enumerate(found["records"]):
        if number:
            say("")
        _print(record)


def _print(record: dict[str, Any]) -> None:
    about = " ".join(part for part in (record["route"], record.get("model")) if part)
    status = record["status"] or "no answer"
    say(f"{record['request_id']}  {record['at']}  {about}")
    say(f"{record['ending']}: {status} {record['code']}, after {record['total_ms']:g} ms\n")
    phases = record["phases_ms"]
    print_table(["PHASE", "MS"], [*phases.items(), ("total", record["total_ms"])])
    if record.get("models"):
        _print_models(record["models"])
    for image in record.get("images", ()):
        say(f"\n{image['name'] or 'photo'}: {_times(image['phases_ms'])}")
        _print_models(image["models"])
    if "problem" in record:
        _print_refusal(record["problem"], record.get("reckoning"))


def _print_models(parts: list[dict[str, Any]]) -> None:
    say("")
    print_table(
        ["MODEL", "VERSION", "HOW", "REPLICA", "BATCH", "LEFT", "MS"],
        [
            (
                *(part["model"], part["version"], part["source"], _replica(part)),
                *(part.get("batch_size"), part.get("left"), _times(part["phases_ms"])),
            )
            for part in parts
        ],
    )


def _replica(part: dict[str, Any]) -> str | None:
    """Who answered, and for whom."""
    replica, lost = part.get("replica"), part.get("lost_replica")
    return f"{replica}, after {lost} was lost" if lost else replica


def _print_refusal(problem: dict[str, Any], reckoning: dict[str, Any] | None) -> None:
    say(f"\n{problem['detail']}")
    if "retry_after" in problem:
        say(f"worth trying again in {problem['retry_after']:g} s")
    if reckoning is not None:
        say("")
        print_table(["DECIDED FROM", ""], _flat(reckoning))


def _flat(numbers: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", f"{value:g}" if isinstance(value, float) else value))
    return rows


def _times(phases: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in phases.items())
