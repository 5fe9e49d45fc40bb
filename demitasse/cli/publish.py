"""`publish`: packages become versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import remark, say
from demitasse.cli.operations import open_operations
from demitasse.cli.options import Home
from demitasse.cli.registry import open_catalog, user_name

if TYPE_CHECKING:
    from model_registry.catalog import Publication
    from model_registry.snapshot import ModelEntry


def publish(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders with a model.toml.")
    ],
    alias: Annotated[
        str | None, typer.Option(help="Point this alias to each, such as default.")
    ] = None,
    home: Home = None,
) -> None:
    """Publish packages. The same content again changes nothing; other content is refused."""
    from model_registry.errors import RegistryError

    settings = load_settings(home=home)
    failed = 0
    with open_catalog(settings, create=True) as catalog:
        for directory in directories:
            try:
                publication = catalog.publish(directory, who=user_name())
                if alias is not None:
                    version = publication.version
                    with open_operations(settings) as operations:
                        operations.set_alias(version.model, alias, version.version)
            except RegistryError as error:  # the others are published all the same
                remark(f"demitasse: {error}")
                failed += 1
                continue
            entry = catalog.snapshot().models[publication.version.model]
            for line in _report(publication, entry):
                say(line)
    if failed:
        if len(directories) > 1:
            remark(
                f"demitasse: {failed} of {len(directories)} packages were not published, see "
                "above; what was published of them before is served as it was"
            )
        raise typer.Exit(1)


def _report(publication: Publication, entry: ModelEntry) -> list[str]:
    """What happened, and what to do next where the version is not asked for by anybody yet."""
    model, version = publication.version.model, publication.version.version
    done = "published" if publication.created else "already published"
    meant_by = [alias for alias, number in entry.aliases.items() if number == version]
    if meant_by:
        return [f"{model} {version} {done}; it is what {', '.join(meant_by)} means"]
    if entry.versions[version].serving:
        return [f"{model} {version} {done}; it is served as {model}@{version}"]
    return [
        f"{model} {version} {done}; it is not served yet, the default is {entry.default}",
        f"  to serve it beside that:  demitasse serve {model}@{version}",
        f"  to make it the default:   demitasse alias {model} default {version}",
    ]
