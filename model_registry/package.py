"""A package's folder before it is published: its manifest, and the files that this names.

Reads text and looks whether everything is there; runs nothing of the author's.
What a published package is kept as is `artifacts`' business.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NoReturn

from envs.errors import InvalidRequirements
from envs.requirements import normalise
from model_registry.manifest import FILE_NAME, Manifest
from model_registry.manifest_parser import parse_manifest
from model_registry.manifest_table import ManifestError


def load_manifest(package: Path) -> Manifest:
    """The manifest of a package's folder, compared with the files that it names.

    Raises:
        ManifestError: the file is missing, damaged or wrong, or a file that it names is missing.
    """
    path = package / FILE_NAME
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ManifestError(str(path), f"cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(str(path), f"is not UTF-8: {error}") from error
    manifest = parse_manifest(text, str(path))
    _check_files(manifest, package, str(path))
    return manifest


def _check_files(manifest: Manifest, package: Path, file: str) -> None:
    _check_entry(manifest, package, file)
    try:
        normalise(manifest.requirements_text(package) or "")
    except (OSError, UnicodeDecodeError, InvalidRequirements) as error:
        requirements = manifest.environment.requirements
        raise ManifestError(
            file,
            f'environment.requirements is "{requirements}"; expected a file of the package '
            f"with requirements ({error})",
            key="environment.requirements",
            value=requirements,
        ) from error


def _check_entry(manifest: Manifest, package: Path, file: str) -> None:
    """Looks the module and its class up in the package's text. Nothing is run."""

    def refuse(expected: str) -> NoReturn:
        problem = f'entry is "{manifest.entry}"; expected {expected}'
        raise ManifestError(file, problem, key="entry", value=manifest.entry)

    module_name, _, class_name = manifest.entry.partition(":")
    module = package.joinpath(*module_name.split("."))
    source = module.with_suffix(".py")
    if not source.is_file():
        source = module / "__init__.py"
    if not source.is_file():
        relative = module.with_suffix(".py").relative_to(package)
        refuse(f"a module of the package, and there is no {relative}")
    names = _names_bound_in(source)
    if names is not None and class_name not in names:
        refuse(f"a class of the module, and {source.relative_to(package)} has no {class_name}")


def _names_bound_in(source: Path) -> set[str] | None:
    """Every name that a module gives to something; None where that cannot be told.

    The model may bring a newer Python than ours, so what we cannot parse is not refused.
    """
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
    return None if "*" in names else names
