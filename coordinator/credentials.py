"""What links to other machines are opened with, and what the admin API asks of its callers.

From the settings that name the files: neither settings nor environment hold a secret.
"""

from __future__ import annotations

import re

from coordinator.config import Settings
from coordinator.config_checks import InvalidSettings
from wire.credentials import (
    Credentials,
    InvalidCredentials,
    read_key,
    read_secret,
    tls_of_coordinator,
)

#: What may stand in a header as it is, and so many bytes of it at most.
_PRINTABLE = re.compile(rb"[!-~]+")
_MAX_KEY_BYTES = 256


def admin_key(settings: Settings) -> str:
    """What `Authorization: Bearer` has to bring to the admin API; empty: nothing.

    Raises:
        InvalidSettings: names the setting, its file, and what to do.
    """
    file = settings.admin_key_file
    if not file:
        return ""
    try:
        key = read_key(file, _MAX_KEY_BYTES)
        if not _PRINTABLE.fullmatch(key):
            raise InvalidCredentials(
                f"{file} holds something else than printable ASCII characters without spaces, "
                "such as `openssl rand -hex 32` prints"
            )
    except InvalidCredentials as error:
        raise InvalidSettings(f"admin_key_file: {error}") from error
    return key.decode()


def link_credentials(settings: Settings) -> Credentials:
    """Secret and TLS of links over TCP.

    Raises:
        InvalidSettings: names the setting, its file, and what to do.
    """
    name = "link_secret_file"
    try:
        secret = read_secret(settings.link_secret_file) if settings.link_secret_file else None
        name = "link_ca_file"
        tls = None
        if settings.link_certificate_file and not settings.link_ca_file:
            raise InvalidCredentials(
                "is missing beside link_certificate_file; without it links are not encrypted"
            )
        if settings.link_ca_file:
            tls = tls_of_coordinator(
                settings.link_ca_file, settings.link_certificate_file, settings.link_key_file
            )
    except InvalidCredentials as error:
        raise InvalidSettings(f"{name}: {error}") from error
    return Credentials(secret, tls)
