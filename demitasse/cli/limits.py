"""What the platform that runs lets in at present.

What a promise comes to is known to the hosts alone, from what their batches
take; the admin API passes it on. Used by `status` and `models`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demitasse.cli.console import admission, remark

if TYPE_CHECKING:
    from coordinator.config import Settings
    from deploy.status import Status

#: Whoever only looks does not wait for an API that hangs.
_ANSWER_SECONDS = 2.0

Admissions = dict[tuple[str | None, str | None], list[dict[str, Any]]]
"""By model and version: what each replica that is ready lets in, as `GET /fleet` says it."""


def read_admissions(status: Status, settings: Settings) -> Admissions:
    """Asks the platform, where one runs. Where it does not answer, that is remarked."""
    if status.admin_url is None:
        return {}
    from coordinator.credentials import admin_key
    from demitasse.client import ApiError, call, open_http

    try:
        with open_http(status.admin_url, key=admin_key(settings)) as http:
            replicas = call(http, "GET", "/fleet", timeout=_ANSWER_SECONDS)["replicas"]
    except ApiError as error:
        remark(f"the limits in force are not known: {error.detail}")
        return {}
    admissions: Admissions = {}
    for replica in replicas:
        if replica["admission"] is not None:
            key = (replica["model"], replica["version"])
            admissions.setdefault(key, []).append(replica["admission"])
    return admissions


def limits(found: list[dict[str, Any]]) -> list[int]:
    """Those in force, one for each replica."""
    return [each["limit"] for each in found]


def governing(found: list[dict[str, Any]]) -> str:
    """What governs a version of which this was found, and what it comes to."""
    promise = found[0]["promise"]
    seconds = None if promise is None else promise["seconds"]
    return admission(seconds, found[0]["limit"], limits(found))
