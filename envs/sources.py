"""Where packages come from on this machine, as pip is set up here.

pip reads its files and variables; uv reads neither and has to be told, or it
installs another build of the same version. Used by `spec`; told to the
installers by `installation`.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """Where packages come from, as pip is set up on this machine."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    cert: str | None = None


@cache
def pip_options() -> InstallOptions:
    """What pip would use here: its configuration files and its variables."""
    settings = _pip_settings()

    def listed(key: str) -> tuple[str, ...]:
        return tuple(settings.get(key, "").split())

    return InstallOptions(
        index_url=settings.get("index-url"),
        extra_index_urls=listed("extra-index-url"),
        find_links=listed("find-links"),
        cert=settings.get("cert"),
    )


def _pip_settings() -> dict[str, str]:
    """Setting -> value, from `pip config list`: variables over [install] over [global]."""
    command = [sys.executable, "-P", "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # no pip beside us
        return _pip_variables()
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in done.stdout.splitlines():
        section, _, setting = line.partition(".")
        key, _, value = setting.partition("=")
        if section in sections:
            sections[section][key] = str(ast.literal_eval(value))
    return sections["global"] | sections["install"] | sections[":env:"]


def _pip_variables() -> dict[str, str]:
    return {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
