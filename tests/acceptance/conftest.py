from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.platform import EXAMPLES, Platform, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.acceptance)
            # The first one builds every environment: minutes where the network is slow.
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="package")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All example models, each in its own environment, as `make run` starts them."""
    packages = sorted(path.parent for path in EXAMPLES.glob("*/model.toml"))
    with running(tmp_path_factory.mktemp("everything"), packages, within=900) as platform:
        yield platform
