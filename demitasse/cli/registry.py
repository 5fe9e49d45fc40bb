"""Opens the registry of a home for one command, without any running platform."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from demitasse.cli.failures import CommandError

if TYPE_CHECKING:
    from coordinator.config import Settings
    from model_registry.catalog import Catalog
    from model_registry.snapshot import ModelEntry, Snapshot


class NothingPublished(CommandError):
    """The home has no registry yet."""


@contextmanager
def open_catalog(settings: Settings, *, create: bool = False) -> Iterator[Catalog]:
    """The catalog of a home.

    Args:
        create: make home and registry where there are none.

    Raises:
        NothingPublished: naming the home, which may be mistyped.
    """
    from model_registry.artifacts import ArtifactStore
    from model_registry.catalog import Catalog
    from storage.engine import migrate, open_engine

    own_file = settings.home / "registry.db"
    if create:
        settings.home.mkdir(parents=True, exist_ok=True)
    elif not settings.database_url and not own_file.exists():
        raise NothingPublished(
            f"nothing was published in {settings.home} yet; "
            "publish a package with `demitasse publish DIR`, or name another --home"
        )
    engine = open_engine(settings.registry_url)
    try:
        migrate(engine)
        yield Catalog(engine, ArtifactStore(settings.home / "artifacts"))
    finally:
        engine.dispose()


def find_model(snapshot: Snapshot, name: str) -> ModelEntry:
    """Raises UnknownModel, which lists what there is."""
    from model_registry.errors import UnknownModel

    if name not in snapshot.models:
        raise UnknownModel(name, list(snapshot.models))
    return snapshot.models[name]


def user_name() -> str:
    """Who history says it was."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return "unknown"
