"""Packages made for a test: the smallest that is valid, with what the test wants different."""

from pathlib import Path

SMALLEST = """
name = "{name}"
version = "{version}"
entry = "echo:Echo"

[input.x]
dtype = "float32"
shape = [-1]

[output.x]
type = "number"
"""


def make_package(
    folder: Path, *, name: str = "echo", version: str = "1.0.0", more: str = "", code: str = ""
) -> Path:
    """A package in a folder of its own below `folder`, which may be the same one again."""
    package = folder / f"{name}-{version}"
    package.mkdir(parents=True, exist_ok=True)
    (package / "model.toml").write_text(SMALLEST.format(name=name, version=version) + more)
    (package / "echo.py").write_text(code or "class Echo: ...\n")
    return package
