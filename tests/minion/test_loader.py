"""Finding the model's class in its package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minion.worker.loader import LoadError, find_model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_class_is_found(package: Path) -> None:
    (package / "loader_good.py").write_text(
        "from minion.model import Model\nclass Mine(Model): ...\n"
    )

    assert find_model(package, "loader_good:Mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("text", "entry", "reason"),
    [
        ("", "loader_none:Mine", "the package has no module 'loader_none'"),
        ("", "loader_case:Mine", "module 'loader_case' has no class 'Mine'"),
        ("class Mine: ...", "loader_case:Mine", "not a subclass of minion.model.Model"),
        ("Mine = 5", "loader_case:Mine", "not a subclass of minion.model.Model"),
    ],
)
def test_what_is_missing_is_named(package: Path, text: str, entry: str, reason: str) -> None:
    (package / "loader_case.py").write_text(text)

    with pytest.raises(LoadError, match=reason):
        find_model(package, entry)


def test_a_missing_requirement_is_not_taken_for_a_missing_module(package: Path) -> None:
    (package / "loader_needs.py").write_text("import no_such_framework")

    with pytest.raises(ModuleNotFoundError, match="no_such_framework"):
        find_model(package, "loader_needs:Mine")
