"""What links to other machines are opened with, from the settings that name the files."""

from __future__ import annotations

from coordinator.config import InvalidSettings, Settings
from wire.credentials import Credentials, InvalidCredentials, read_secret, tls_of_coordinator


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
