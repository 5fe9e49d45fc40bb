"""Model packages made for a test, from text or from one in the tree."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

#: Says a photo's mean colour, so that each answer shows whose it is.
COLOUR = Path(__file__).parent / "acceptance" / "models" / "colour"


def written(folder: Path, name: str, manifest: str, model: str) -> Path:
    """A package below this folder: its manifest, and a module of its name."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "model.toml").write_text(manifest)
    (package / f"{name}.py").write_text(model)
    return package


def variant(
    package: Path,
    folder: Path,
    replace: Mapping[str, str] | None = None,
    *,
    more: str = "",
) -> Path:
    """A copy below this folder, with other lines in its manifest.

    Args:
        replace: what stands there in place of what.
        more: comes at the manifest's end.
    """
    made = shutil.copytree(package, folder / package.name)
    manifest = made / "model.toml"
    text = manifest.read_text()
    for old, new in (replace or {}).items():
        assert text.count(old) == 1, f"{package}/model.toml: expected {old!r} once"
        text = text.replace(old, new)
    manifest.write_text(text + more)
    return made
