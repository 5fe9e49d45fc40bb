"""Models, versions and replicas as documents: what there is, what serves, what is let in.

Handlers of `native`, and what `admin` says of a replica. Reads what others keep.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from coordinator.fleet import Fleet
from coordinator.http.answers import write_answer
from coordinator.http.head import path_ref
from coordinator.http.keys import DIRECTORY, FLEET
from coordinator.replica import Replica
from coordinator.router import named, resolve
from model_registry.snapshot import ModelEntry, Version


async def list_models(request: web.Request) -> web.Response:
    snapshot = request.app[DIRECTORY].current()
    models = [_model(entry, request.app[FLEET]) for entry in snapshot.models.values()]
    return write_answer(request, {"models": models})


async def show_model(request: web.Request) -> web.Response:
    entry = named(request.app[DIRECTORY].current(), request.match_info["name"])
    version = entry.versions[entry.representative]
    return write_answer(
        request,
        {
            **_model(entry, request.app[FLEET]),
            **_schemas(version),
            "admission": _admissions(version, request.app[FLEET]),
        },
    )


async def show_version(request: web.Request) -> web.Response:
    snapshot = request.app[DIRECTORY].current()
    version = resolve(snapshot, path_ref(request))
    entry = snapshot.models[version.model]
    return write_answer(
        request,
        {
            "name": version.model,
            **_summary(version, request.app[FLEET]),
            "aliases": sorted(
                a for a, number in entry.aliases.items() if number == version.version
            ),
            **_schemas(version),
        },
    )


def _model(entry: ModelEntry, fleet: Fleet) -> dict[str, Any]:
    default = entry.default
    manifest = entry.versions[default].manifest if default is not None else None
    return {
        "name": entry.name,
        "description": manifest.description if manifest is not None else "",
        "default": default,
        "analyze": manifest.analyze if manifest is not None else False,
        "aliases": dict(entry.aliases),
        "settings": entry.settings_for(default).document() if default is not None else None,
        "versions": [_summary(version, fleet) for version in entry.versions.values()],
    }


def _summary(version: Version, fleet: Fleet) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "published_at": version.published_at.isoformat(),
        "serving": version.serving,
        "ready": fleet.ready(version.model, version.version),
        "notes": version.manifest.release_notes,
    }


def _admissions(version: Version, fleet: Fleet) -> list[dict[str, Any]]:
    found = (admission(each) for each in fleet.replicas(version.model, version.version))
    return [each for each in found if each is not None]


def admission(replica: Replica) -> dict[str, Any] | None:
    """What one replica lets in, and from what that follows; None while it lets nobody in."""
    status = replica.status
    if status is None or not replica.ready:
        return None
    promise = status.promise
    return {
        "replica": replica.place.id,
        "occupied": replica.occupied,
        "limit": status.queue_limit,
        "batch_limit": status.batch_limit,
        "workers": status.workers,
        "seconds_alone": status.seconds_alone,
        "seconds_per_example": status.seconds_per_example,
        "promise": None if promise is None else promise._asdict(),
    }


def _schemas(version: Version) -> dict[str, Any]:
    manifest = version.manifest
    quality = manifest.quality
    return {
        "input_schema": manifest.input_schema(),
        "output_schema": manifest.output_schema(),
        "takes_photo": manifest.takes_photo,
        "quality": asdict(quality) if quality is not None else None,
    }
