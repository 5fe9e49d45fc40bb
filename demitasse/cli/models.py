"""`models` and `history`: what the registry holds, and who changed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import admission, milliseconds, print_json, print_table, remark, say
from demitasse.cli.limits import Admissions, limits, read_admissions
from demitasse.cli.options import AsJson, Home, ModelName
from demitasse.cli.registry import NothingPublished, find_model, open_catalog

if TYPE_CHECKING:
    from datetime import datetime

    from model_registry.catalog import Catalog
    from model_registry.history import AliasMove
    from model_registry.settings import EffectiveSettings
    from model_registry.snapshot import ModelEntry, Version

_HEADINGS = (
    *("model", "version", "aliases", "served", "analyze"),
    *("admission", "batch", "delay", "about"),
)


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One model, in detail.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """What is published: versions, aliases, limits."""
    from deploy.status import read_status

    settings = load_settings(home=home)
    try:
        with open_catalog(settings) as catalog:
            snapshot = catalog.snapshot()
    except NothingPublished as nothing:
        if name is not None:
            raise
        remark(str(nothing))
        entries = []
    else:
        entries = list(snapshot.models.values()) if name is None else [find_model(snapshot, name)]
    admissions = read_admissions(read_status(settings.home), settings)
    if as_json:
        documents = [_document(entry, admissions) for entry in entries]
        print_json(documents if name is None else documents[0])
    elif name is not None:
        _print_detail(entries[0], admissions)
    elif entries:
        _print_overview(entries, admissions)


def _print_overview(entries: list[ModelEntry], admissions: Admissions) -> None:
    print_table(
        _HEADINGS,
        (
            _row(entry, version, admissions)
            for entry in entries
            for version in entry.versions.values()
        ),
    )


def _admission(version: Version, settings: EffectiveSettings, admissions: Admissions) -> str:
    now = limits(admissions.get((version.model, version.version), []))
    return admission(settings.promise, settings.queue_limit, now)


def _row(entry: ModelEntry, version: Version, admissions: Admissions) -> tuple[object, ...]:
    settings = entry.settings_for(version.version)
    return (
        entry.name,
        version.version,
        ", ".join(_aliases(entry, version)),
        "yes" if version.serving else "no",
        "yes" if version.manifest.analyze else "no",
        _admission(version, settings, admissions),
        settings.max_batch_size,
        milliseconds(settings.max_queue_delay),
        version.manifest.description,
    )


def _print_detail(entry: ModelEntry, admissions: Admissions) -> None:
    for version in entry.versions.values():
        manifest, settings = version.manifest, entry.settings_for(version.version)
        quality = manifest.quality
        facts = {
            "about": manifest.description,
            "aliases": ", ".join(_aliases(entry, version)),
            "served": "yes" if version.serving else "no",
            "inputs": ", ".join(
                f"{name} {spec.dtype}{list(spec.shape)}" for name, spec in manifest.inputs.items()
            ),
            "outputs": ", ".join(manifest.outputs),
            "limits": f"{_admission(version, settings, admissions)}, "
            f"batch {settings.max_batch_size}, delay {milliseconds(settings.max_queue_delay)}",
            "quality": quality and f"{quality.metric} {quality.value:g} on {quality.data}",
            "notes": manifest.release_notes,
            "published": f"{version.published_at:%Y-%m-%d %H:%M} UTC by {version.published_by}",
            "package": version.directory,
        }
        print_table((entry.name, version.version), facts.items())
        say("")


def _document(entry: ModelEntry, admissions: Admissions) -> dict[str, Any]:
    return {
        "name": entry.name,
        "default": entry.default,
        "aliases": dict(entry.aliases),
        "versions": [
            _version_document(entry, version, admissions) for version in entry.versions.values()
        ],
    }


def _version_document(
    entry: ModelEntry, version: Version, admissions: Admissions
) -> dict[str, Any]:
    manifest, settings = version.manifest, entry.settings_for(version.version)
    quality = manifest.quality
    return {
        "version": version.version,
        "digest": version.digest,
        "aliases": _aliases(entry, version),
        "serving": version.serving,
        "analyze": manifest.analyze,
        "description": manifest.description,
        "published_at": version.published_at.isoformat(),
        "published_by": version.published_by,
        "package": str(version.directory),
        "settings": {**settings.document(), "revision": settings.revision},
        "admission": admissions.get((version.model, version.version), []),
        "quality": asdict(quality) if quality is not None else None,
        "notes": manifest.release_notes,
        "input_schema": manifest.input_schema(),
        "output_schema": manifest.output_schema(),
    }


def _aliases(entry: ModelEntry, version: Version) -> list[str]:
    return sorted(alias for alias, number in entry.aliases.items() if number == version.version)


class Event(NamedTuple):
    at: datetime
    who: str
    what: str


def history(name: ModelName, home: Home = None, as_json: AsJson = False) -> None:
    """Who changed what of a model, and when, oldest first."""
    with open_catalog(load_settings(home=home)) as catalog:
        events = sorted(_events(catalog, name), key=lambda event: event.at)
    if as_json:
        print_json([{**event._asdict(), "at": event.at.isoformat()} for event in events])
    else:
        print_table(
            ("when (UTC)", "who", "what"),
            ((f"{event.at:%Y-%m-%d %H:%M:%S}", event.who, event.what) for event in events),
        )


def _events(catalog: Catalog, name: str) -> Iterator[Event]:
    for version in find_model(catalog.snapshot(), name).versions.values():
        yield Event(version.published_at, version.published_by, f"{version.version} published")
    for move in catalog.alias_history(name):
        yield Event(move.at, move.who, _moved(move))
    for served in catalog.serving_history(name):
        verb = "served" if served.serving else "retired"
        yield Event(served.at, served.who, f"{served.version} {verb}")
    for tuned in catalog.settings_history(name):
        dropped = "the manifest's" if tuned.is_reset else "no longer set"
        for key, (old, new) in tuned.changes.items():
            before = "the manifest's" if old is None else f"{old:g}"
            after = dropped if new is None else f"{new:g}"
            yield Event(tuned.at, tuned.who, f"{key} {after} instead of {before}")


def _moved(move: AliasMove) -> str:
    if move.new_version is None:
        return f"{move.alias} removed; it meant {move.old_version}"
    before = f" instead of {move.old_version}" if move.old_version else ""
    return f"{move.alias} means {move.new_version}{before}"
