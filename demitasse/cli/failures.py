"""Mistakes and mishaps, as the sentence that is printed instead of a traceback.

The texts are written where the error is raised; here is only what counts as
one that people can meet. Anything else is a bug, and keeps its traceback.
Imports what it must when something has gone wrong, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demitasse.client import ApiError


class CommandError(Exception):
    """A command cannot do what it was asked to; the text says why and what to do."""


def explanation(error: BaseException) -> str | None:
    """What to tell whoever typed the command; None: the error is not one of theirs."""
    from sqlalchemy.exc import SQLAlchemyError

    from coordinator.config_checks import InvalidSettings
    from demitasse.client import ApiError
    from envs.errors import EnvironmentUnavailable
    from model_registry.errors import RegistryError

    if isinstance(error, ApiError):
        return api_explanation(error)
    if isinstance(error, SQLAlchemyError):
        return f"the registry's database cannot be used: {getattr(error, 'orig', None) or error}"
    if isinstance(error, OSError):
        return _os_explanation(error)
    own = (CommandError, InvalidSettings, RegistryError, EnvironmentUnavailable)
    return str(error) if isinstance(error, own) else None


def api_explanation(error: ApiError) -> str:
    """An answer of the platform's that is an error, or that there was none."""
    if error.code == "unreachable":
        return f"{error.detail}; start the platform with `demitasse up`"
    if error.code == "unauthenticated":
        return f"{error.detail.rstrip('.')}: DEMITASSE_ADMIN_KEY_FILE names the file with the key"
    about = [error.code]
    if error.retry_after is not None:
        about.append(f"worth trying again in {error.retry_after:g} s")
    if error.request_id is not None:
        about.append(f"request {error.request_id}")
    return f"{error.detail} ({', '.join(about)})"


def _os_explanation(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason
