"""The registry at one moment, as immutable values.

What coordinators route by and what the surfaces show. Holds no connection and
decides nothing: which version a request means is the router's question. Made by
the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model_registry.manifest import Manifest
from model_registry.settings import EffectiveSettings, Settings

DEFAULT_ALIAS = "default"


@dataclass(frozen=True, slots=True)
class Version:
    """One published version. It never changes, except for whether it is served."""

    model: str
    version: str
    digest: str
    manifest: Manifest
    directory: Path
    """The published package; read-only by agreement."""
    serving: bool
    published_at: datetime
    published_by: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """Everything about one model."""

    name: str
    versions: Mapping[str, Version]
    """By number, lowest first: 1.9.0 before 1.10.0."""
    aliases: Mapping[str, str]
    """Alias -> version."""
    settings: Settings
    """As tuned; see `settings_for`."""

    @property
    def default(self) -> str | None:
        """The version that is meant where none is named."""
        return self.aliases.get(DEFAULT_ALIAS)

    @property
    def representative(self) -> str:
        """The version that stands for the model: the default, else the highest."""
        return self.default or list(self.versions)[-1]

    def settings_for(self, version: str) -> EffectiveSettings:
        """What the lane of a version works with: its manifest's values under the tuned ones."""
        return self.versions[version].manifest.settings(self.settings)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models, by name."""

    revision: int
    """Grows with every change but the renewal of a lease."""
    models: Mapping[str, ModelEntry]
