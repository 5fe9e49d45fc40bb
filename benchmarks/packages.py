"""Packages that differ from those in the tree by a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


def variant(package: Path, folder: Path, changes: Mapping[str, str]) -> Path:
    """A copy in this folder, under its own name, with other lines in its manifest."""
    made = shutil.copytree(package, folder / package.name)
    edit(made, changes)
    return made


def edit(package: Path, changes: Mapping[str, str]) -> None:
    """Other lines in place of these in a package's manifest.

    Raises:
        LookupError: one of them does not stand there exactly once.
    """
    manifest = package / "model.toml"
    text = manifest.read_text()
    for old, new in changes.items():
        if text.count(old) != 1:
            raise LookupError(f"{manifest}: expected {old} once")
        text = text.replace(old, new)
    manifest.write_text(text)
