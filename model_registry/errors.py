"""What the registry refuses.

    RegistryError
      ManifestError       a model.toml that cannot be used      (manifest_table.py)
      InvalidPackage      a folder that cannot be published
      AlreadyPublished    this version exists with other content
      UnknownModel
      UnknownVersion
      UnknownAlias
      InvalidAlias
      VersionInUse        an alias points to it
      InvalidSettings

All are the caller's doing. `code` is stable; what it looks like outside is the
coordinator's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from wire.quoting import quoted


class RegistryError(Exception):
    """The registry refused."""

    code: ClassVar[str]


class InvalidPackage(RegistryError):
    """A folder that cannot be published as it is."""

    code = "invalid-package"


class AlreadyPublished(RegistryError):
    """The version exists already, with other content; a version never changes."""

    code = "already-published"


class UnknownModel(RegistryError):
    """No version of this model was ever published."""

    code = "unknown-model"

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(f"no model {quoted(model)}; there is {_listed(known)}")
        self.model = model
        self.known = tuple(known)


class UnknownVersion(RegistryError):
    """The model has no such version."""

    code = "unknown-version"

    def __init__(self, model: str, version: str, known: Sequence[str]) -> None:
        super().__init__(f"{model} has no version {quoted(version)}; there is {_listed(known)}")
        self.model = model
        self.version = version
        self.known = tuple(known)


class UnknownAlias(RegistryError):
    """The model has no such alias."""

    code = "unknown-alias"

    def __init__(self, model: str, alias: str, known: Sequence[str]) -> None:
        super().__init__(f"{model} has no alias {quoted(alias)}; there is {_listed(known)}")
        self.model = model
        self.alias = alias
        self.known = tuple(known)


class InvalidAlias(RegistryError):
    """Not a name that an alias can have."""

    code = "invalid-alias"


class VersionInUse(RegistryError):
    """A version that an alias points to is not retired."""

    code = "version-in-use"


class InvalidSettings(RegistryError):
    """A setting outside of what is possible."""

    code = "invalid-settings"

    def __init__(self, text: str, setting: str | None = None) -> None:
        """
        Args:
            setting: its name in every API; None where it is no single one.
        """
        super().__init__(text)
        self.setting = setting


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
