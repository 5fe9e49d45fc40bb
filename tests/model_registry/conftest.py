from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from model_registry.artifacts import ArtifactStore
from model_registry.catalog import Catalog
from storage.engine import migrate, open_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'registry.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def catalog(engine: Engine, tmp_path: Path) -> Catalog:
    return Catalog(engine, ArtifactStore(tmp_path / "artifacts"), clock=lambda: 1_000_000.0)
