"""Versions, aliases and settings: published, changed, and seen as one snapshot.

Every change is one transaction that leaves a line of history. Reading costs one
small query while nothing has changed. Which version a request means, and who
serves it, is decided elsewhere. Called by the command line, the admin surface
and, for snapshots, by every coordinator; safe from several processes at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, Engine, RowMapping, insert, select

from model_registry import history, revision, rows
from model_registry.artifacts import ArtifactStore
from model_registry.errors import (
    AlreadyPublished,
    InvalidAlias,
    UnknownAlias,
    UnknownModel,
    UnknownVersion,
    VersionInUse,
)
from model_registry.history import AliasMove, ServingMove, SettingsMove, Stamp
from model_registry.manifest import FILE_NAME, Manifest, version_key
from model_registry.manifest_parser import parse_manifest
from model_registry.package import load_manifest
from model_registry.settings import NOTHING_TUNED, Settings, SettingsChange
from model_registry.snapshot import DEFAULT_ALIAS, ModelEntry, Snapshot, Version
from storage import tables
from storage.engine import reading, writing
from wire.names import NAME
from wire.quoting import quoted


@dataclass(frozen=True, slots=True)
class Publication:
    version: Version
    created: bool
    """False when the very same content was published before."""


class Catalog:
    """The registry's versions, aliases and settings. `clock` gives seconds since 1970, UTC."""

    def __init__(
        self,
        engine: Engine,
        artifacts: ArtifactStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._clock = clock
        self._manifests: dict[str, Manifest] = {}  # by digest: equal content, equal manifest
        self._snapshot = Snapshot(-1, MappingProxyType({}))

    def snapshot(self) -> Snapshot:
        """The registry as it is now; the same object as before while nothing has changed."""
        with reading(self._engine) as connection:
            now = revision.current(connection)
            snapshot = self._snapshot
            if snapshot.revision != now:
                snapshot = self._snapshot = Snapshot(now, self._read_models(connection))
            return snapshot

    def publish(self, directory: Path, *, who: str) -> Publication:
        """Check a package and keep a copy of it, as a version that never changes.

        The first version of a model is served and becomes its default; later ones
        wait for a command.

        Raises:
            ManifestError, InvalidPackage: the package is at fault.
            AlreadyPublished: this version exists with other content.
        """
        digest = self._refuse_before_copying(directory)
        if not self._artifacts.path(digest).is_dir():
            digest = self._artifacts.add(directory)  # it may have changed since
        text = (self._artifacts.path(digest) / FILE_NAME).read_text("utf-8")
        manifest = parse_manifest(text, str(directory / FILE_NAME))
        with writing(self._engine) as connection:
            created = self._enter(connection, manifest, text, digest, self._stamp(who))
        version = self.snapshot().models[manifest.name].versions[manifest.version]
        return Publication(version, created)

    def set_alias(self, model: str, alias: str, version: str, *, who: str) -> None:
        """Point an alias to a version, which is served from now on; the one before stays served.

        Raises:
            InvalidAlias, UnknownModel, UnknownVersion: nothing was changed.
        """
        if not re.fullmatch(NAME, alias):
            raise InvalidAlias(
                f'{quoted(alias)} is no alias; expected lower-case letters, digits and "-", '
                "starting with a letter, at most 63 characters"
            )
        with writing(self._engine) as connection:
            _require(connection, model, version)
            _set_alias(connection, model, alias, version, self._stamp(who))
            _set_serving(connection, model, version, True, self._stamp(who))

    def remove_alias(self, model: str, alias: str, *, who: str) -> None:
        """Take an alias away; the version that it meant stays served.

        Raises:
            UnknownModel, UnknownAlias: nothing was changed.
        """
        with writing(self._engine) as connection:
            _require_model(connection, model)
            meanings = rows.aliases(connection, model)
            if alias not in meanings:
                raise UnknownAlias(model, alias, list(meanings))
            rows.remove_alias(connection, model, alias)
            history.note_alias(connection, model, alias, meanings[alias], None, self._stamp(who))
            revision.grow(connection)

    def serve(self, model: str, version: str, *, who: str) -> None:
        """Serve a version, beside those that are served already.

        Raises:
            UnknownModel, UnknownVersion: nothing was changed.
        """
        with writing(self._engine) as connection:
            _require(connection, model, version)
            _set_serving(connection, model, version, True, self._stamp(who))

    def retire(self, model: str, version: str, *, who: str) -> None:
        """Serve a version no longer; it stays published.

        Raises:
            UnknownModel, UnknownVersion, VersionInUse: nothing was changed.
        """
        with writing(self._engine) as connection:
            _require(connection, model, version)
            pointing = [
                alias for alias, to in rows.aliases(connection, model).items() if to == version
            ]
            if pointing:
                raise VersionInUse(
                    f"{model} {version} is what {', '.join(pointing)} means; "
                    "point the alias to another version first, or remove it"
                )
            _set_serving(connection, model, version, False, self._stamp(who))

    def tune(self, model: str, changes: SettingsChange, *, who: str) -> Settings:
        """Set what is given and leave the rest; values equal to the present ones change nothing.

        Raises:
            UnknownModel: nothing was changed.
        """
        with writing(self._engine) as connection:
            _require_model(connection, model)
            return _tune(connection, model, dict(changes.values()), self._stamp(who))

    def reset(self, model: str, *, who: str) -> Settings:
        """Drop all that was tuned: each version works with its manifest's values again.

        Raises:
            UnknownModel: nothing was changed.
        """
        with writing(self._engine) as connection:
            _require_model(connection, model)
            return _tune(connection, model, NOTHING_TUNED, self._stamp(who))

    def alias_history(self, model: str) -> list[AliasMove]:
        """What the aliases of a model meant, oldest first. Raises UnknownModel."""
        with reading(self._engine) as connection:
            _require_model(connection, model)
            return history.alias_moves(connection, model)

    def serving_history(self, model: str) -> list[ServingMove]:
        """Who served and retired versions, oldest first. Raises UnknownModel."""
        with reading(self._engine) as connection:
            _require_model(connection, model)
            return history.serving_moves(connection, model)

    def settings_history(self, model: str) -> list[SettingsMove]:
        """Who tuned what and when, oldest first. Raises UnknownModel."""
        with reading(self._engine) as connection:
            _require_model(connection, model)
            return history.settings_moves(connection, model)

    def _stamp(self, who: str) -> Stamp:
        return Stamp(who, self._clock())

    def _refuse_before_copying(self, directory: Path) -> str:
        """The digest of a package that has nothing wrong with it; a copy would be left behind."""
        manifest = load_manifest(directory)
        digest = self._artifacts.digest(directory)
        with reading(self._engine) as connection:
            _is_known(connection, manifest, digest)
        return digest

    def _enter(
        self, connection: Connection, manifest: Manifest, text: str, digest: str, stamp: Stamp
    ) -> bool:
        """Enter a version unless it is there already; whether it was not."""
        model, version = manifest.name, manifest.version
        if _is_known(connection, manifest, digest):
            return False
        first = not rows.digests(connection, model)
        connection.execute(
            insert(tables.versions).values(
                model=model,
                version=version,
                digest=digest,
                manifest=text,
                serving=False,
                published_at=stamp.at,
                published_by=stamp.who,
            )
        )
        if first:
            _set_alias(connection, model, DEFAULT_ALIAS, version, stamp)
            _set_serving(connection, model, version, True, stamp)
        revision.grow(connection)
        return True

    def _read_models(self, connection: Connection) -> Mapping[str, ModelEntry]:
        versions: dict[str, dict[str, Version]] = {}
        for row in connection.execute(select(tables.versions)).mappings():
            versions.setdefault(row["model"], {})[row["version"]] = self._read_version(row)
        tuned = rows.settings(connection)
        return MappingProxyType(
            {
                model: ModelEntry(
                    model,
                    _in_order(mine),
                    MappingProxyType(rows.aliases(connection, model)),
                    tuned.get(model, Settings()),
                )
                for model, mine in sorted(versions.items())
            }
        )

    def _read_version(self, row: RowMapping) -> Version:
        digest = row["digest"]
        directory = self._artifacts.path(digest)
        if digest not in self._manifests:
            self._manifests[digest] = parse_manifest(row["manifest"], str(directory / FILE_NAME))
        return Version(
            model=row["model"],
            version=row["version"],
            digest=digest,
            manifest=self._manifests[digest],
            directory=directory,
            serving=row["serving"],
            published_at=history.instant(row["published_at"]),
            published_by=row["published_by"],
        )


def _in_order(versions: dict[str, Version]) -> Mapping[str, Version]:
    return MappingProxyType({key: versions[key] for key in sorted(versions, key=version_key)})


def _is_known(connection: Connection, manifest: Manifest, digest: str) -> bool:
    """Whether the version is there already, with this content. Raises AlreadyPublished."""
    known = rows.digests(connection, manifest.name).get(manifest.version)
    if known not in (None, digest):
        raise AlreadyPublished(
            f"{manifest.name} {manifest.version} is published already, with other content; "
            f"a version never changes: raise the version in its {FILE_NAME}"
        )
    return known is not None


def _require_model(connection: Connection, model: str) -> dict[str, str]:
    digests = rows.digests(connection, model)
    if not digests:
        raise UnknownModel(model, rows.models(connection))
    return digests


def _require(connection: Connection, model: str, version: str) -> None:
    digests = _require_model(connection, model)
    if version not in digests:
        raise UnknownVersion(model, version, sorted(digests, key=version_key))


def _set_alias(connection: Connection, model: str, alias: str, version: str, stamp: Stamp) -> None:
    old = rows.aliases(connection, model).get(alias)
    if old != version:
        rows.set_alias(connection, model, alias, version)
        history.note_alias(connection, model, alias, old, version, stamp)
        revision.grow(connection)


def _set_serving(
    connection: Connection, model: str, version: str, serving: bool, stamp: Stamp
) -> None:
    if rows.is_serving(connection, model, version) != serving:
        rows.set_serving(connection, model, version, serving)
        history.note_serving(connection, model, version, serving, stamp)
        revision.grow(connection)


def _tune(
    connection: Connection, model: str, values: Mapping[str, float | None], stamp: Stamp
) -> Settings:
    before = rows.settings(connection).get(model, Settings())
    moves = {
        key: (getattr(before, key), value)
        for key, value in values.items()
        if getattr(before, key) != value
    }
    if not moves:
        return before
    number = before.revision + 1
    rows.set_settings(connection, model, number, {key: new for key, (_, new) in moves.items()})
    history.note_settings(connection, model, number, moves, stamp)
    revision.grow(connection)
    return rows.settings(connection)[model]
