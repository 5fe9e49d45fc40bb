"""What a host asks of coordinators on other machines, from its environment.

The same variables that a coordinator's settings have. They name files: what is on a
command line, or in a variable, is read by others more easily.
"""

from __future__ import annotations

from collections.abc import Mapping

from wire.credentials import Credentials, InvalidCredentials, read_secret, tls_of_host

SECRET = "DEMITASSE_LINK_SECRET_FILE"
CERTIFICATE = "DEMITASSE_LINK_CERTIFICATE_FILE"
KEY = "DEMITASSE_LINK_KEY_FILE"
CA = "DEMITASSE_LINK_CA_FILE"


def credentials_from(environment: Mapping[str, str]) -> Credentials:
    """Secret and TLS of links over TCP.

    Raises:
        InvalidCredentials: names the variable, its file, and what to do.
    """
    name = SECRET
    try:
        file = environment.get(SECRET, "")
        secret = read_secret(file) if file else None
        name = CERTIFICATE
        certificate, key = environment.get(CERTIFICATE, ""), environment.get(KEY, "")
        if bool(certificate) != bool(key):
            raise InvalidCredentials(f"{CERTIFICATE} and {KEY} go together; one is missing")
        tls, ca = None, environment.get(CA, "")
        if ca and not certificate:
            raise InvalidCredentials(f"is missing beside {CA}; without it links are not encrypted")
        if certificate:
            tls = tls_of_host(ca, certificate, key)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"{name}: {error}") from error
    return Credentials(secret, tls)
