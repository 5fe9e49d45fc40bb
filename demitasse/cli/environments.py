"""`env`: the virtual environments of a home, and who needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from coordinator.config_sources import load_settings
from demitasse.cli.console import print_json, print_table, remark, say, size
from demitasse.cli.options import AsJson, Home
from demitasse.cli.registry import NothingPublished, open_catalog

if TYPE_CHECKING:
    from coordinator.config import Settings
    from envs.builder import EnvironmentInfo
    from model_registry.snapshot import Version

app = typer.Typer(help="Virtual environments of models.", no_args_is_help=True)


@app.command("list")
def list_environments(home: Home = None, as_json: AsJson = False) -> None:
    """Environments that were built, and the versions that need them."""
    from envs.builder import EnvironmentStore

    settings = load_settings(home=home)
    users = _users(settings)
    found = EnvironmentStore(settings.home / "envs").list()
    if as_json:
        print_json([_document(info, users.get(info.fingerprint, [])) for info in found])
    elif not found:
        remark(f"no environment was built in {settings.home} yet; `demitasse up` builds them")
    else:
        print_table(
            ("fingerprint", "python", "size", "built (UTC)", "took", "needed by", "requirements"),
            (_row(info, users.get(info.fingerprint, [])) for info in found),
        )


@app.command()
def prune(home: Home = None) -> None:
    """Remove environments that nothing runs in and no served version needs."""
    from deploy.status import interpreters_in_use
    from envs.builder import EnvironmentStore

    settings = load_settings(home=home)
    keep = {
        fingerprint
        for fingerprint, versions in _users(settings).items()
        if any(version.serving for version in versions)
    }
    # What a version needs follows from this shell's settings for pip; the platform that runs
    # may have been started with others. An interpreter is ENVIRONMENT/bin/python.
    keep |= {python.parent.parent.name for python in interpreters_in_use(settings.home)}
    removed = EnvironmentStore(settings.home / "envs").prune(keep)
    for info in removed:
        say(f"removed {info.fingerprint}: {size(info.size_bytes)}, {_listed(info)}")
    if not removed:
        remark("every environment is in use, or needed by a version that is served")


def _users(settings: Settings) -> dict[str, list[Version]]:
    """The published versions by the fingerprint of the environment that each needs here."""
    from envs.errors import SpecError
    from envs.spec import resolve

    try:
        with open_catalog(settings) as catalog:
            snapshot = catalog.snapshot()
    except NothingPublished:
        return {}
    users: dict[str, list[Version]] = {}
    for entry in snapshot.models.values():
        for version in entry.versions.values():
            text = version.manifest.requirements_text(version.directory)
            try:
                spec = resolve(version.manifest.environment.python, text)
            except SpecError:
                continue  # this machine cannot have its environment, so none of these is its
            users.setdefault(spec.fingerprint(), []).append(version)
    return users


def _names(versions: list[Version]) -> list[str]:
    return [f"{version.model}@{version.version}" for version in versions]


def _listed(info: EnvironmentInfo) -> str:
    return ", ".join(info.requirements)


def _row(info: EnvironmentInfo, versions: list[Version]) -> tuple[object, ...]:
    return (
        info.fingerprint,
        info.python_version,
        size(info.size_bytes),
        f"{info.built_at:%Y-%m-%d %H:%M}",
        f"{info.build_seconds:.0f} s",
        ", ".join(_names(versions)),
        _listed(info),
    )


def _document(info: EnvironmentInfo, versions: list[Version]) -> dict[str, object]:
    return {
        "fingerprint": info.fingerprint,
        "directory": str(info.directory),
        "python": info.python_version,
        "size_bytes": info.size_bytes,
        "built_at": info.built_at.isoformat(),
        "build_seconds": info.build_seconds,
        "needed_by": _names(versions),
        "requirements": list(info.requirements),
    }
