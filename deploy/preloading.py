"""What a template may import for a package: the frameworks that its entry module begins with.

Read from the source, never by importing it: what is an author's is imported in
that author's own processes alone. Called by the deployment.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: What takes long to import, and starts no thread by it. Most of jax's start is compiling;
#: keras is another library with every backend, and our base has chosen one.
#: Where there is a base it stands for its framework, so that more packages share a template.
_FRAMEWORKS = {
    "sklearn": "sklearn",
    "tensorflow": "minion.frameworks.tensorflow",
    "torch": "minion.frameworks.torch",
}
_BASES = ("minion.frameworks.keras", "minion.frameworks.tensorflow", "minion.frameworks.torch")


def preloads(package: Path, entry: str) -> tuple[str, ...]:
    """Modules of the environment, sorted; none where what every worker imports is all.

    Only what is imported before anything else happens counts: a variable that
    is set above an import is meant for it.

    Args:
        package: the folder with the entry module.
        entry: `module:Class`.
    """
    try:
        tree = ast.parse(_source(package, entry.partition(":")[0]))
    except (OSError, ValueError, SyntaxError):  # for a younger Python than ours, perhaps
        return ()
    return tuple(sorted(set(filter(None, map(_preload, _first_imports(tree))))))


def _source(package: Path, module: str) -> bytes:
    path = package.joinpath(*module.split("."))
    file = path.with_suffix(".py")
    return (file if file.is_file() else path / "__init__.py").read_bytes()


def _first_imports(tree: ast.Module) -> Iterator[str]:
    """Names of the modules that are imported before the first statement of another kind."""
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module if statement.module and not statement.level else ""
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return


def _preload(module: str) -> str:
    if module in _BASES:
        return module
    return _FRAMEWORKS.get(module.partition(".")[0], "")
