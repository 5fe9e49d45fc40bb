"""The options that several commands share, and the forms of text that they accept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Where everything that lasts is kept. Default: DEMITASSE_HOME, else ~/.demitasse.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]


class Pinned(NamedTuple):
    """One version of one model."""

    model: str
    version: str


def parse_pinned(text: str) -> Pinned:
    """`tagger@1.0.0`."""
    model, _, version = text.partition("@")
    if not model or not version:
        raise typer.BadParameter(f"{text!r} is not NAME@VERSION, such as tagger@1.0.0")
    return Pinned(model, version)


def parse_duration(text: str) -> float:
    """Seconds of `5ms` or `0.25s`, as durations are written in a model.toml."""
    from model_registry.manifest_table import read_duration

    seconds = read_duration(text.strip())
    if seconds is None:
        raise typer.BadParameter(f"{text!r} is no duration; write a number with ms or s, as in 5ms")
    return seconds


def parse_span(text: str) -> float:
    """Seconds of `30m` or `1h`, or of a duration as above."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mh])", text.strip())
    if found is not None:
        return float(found[1]) * (60 if found[2] == "m" else 3600)
    try:
        seconds = parse_duration(text)
    except typer.BadParameter:
        seconds = 0.0
    if seconds <= 0:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 30m or 1h")
    return seconds


def parse_factor(text: str, least: float, most: float) -> float:
    """3 of `x3`, 1.2 of `+20%`."""
    found = re.fullmatch(r"x(\d+(?:\.\d+)?)|([+-]\d+(?:\.\d+)?)%", text.strip())
    factor = 0.0
    if found is not None:
        factor = float(found[1]) if found[1] else 1 + float(found[2]) / 100
    if not least <= factor <= most:
        raise typer.BadParameter(
            f"{text!r} is no factor from {least:g} to {most:g}; write x3, +20% or -50%"
        )
    return factor


def parse_promise(text: str) -> float:
    """As `parse_duration`; a plain number is seconds, since nobody promises as many as ms."""
    return parse_duration(f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text)


def listed(text: str | None) -> list[str]:
    """`a,b` as a list; nothing for nothing."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]
