"""By what the two ends of a link know each other.

On one machine the kernel says who is at the other end of a Unix socket. Over TCP both
ends prove that they know one secret, which never travels, and may speak TLS. Here
because coordinators and hosts have no other room in common. The proofs are pure;
the rest reads files once, when a process starts.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import ssl
import stat
import struct
from typing import NamedTuple, Optional, Tuple

#: Headers of the upgrade, and of its answer.
NONCE_HEADER = "Demitasse-Nonce"
PROOF_HEADER = "Demitasse-Proof"
#: Who proves; part of what is proved, so that no proof can be sent back to whoever made it.
COORDINATOR, HOST = "coordinator", "host"

_NONCE_BYTES = 32
_MIN_SECRET_BYTES = 16
_MAX_SECRET_BYTES = 4096
_PEER = struct.Struct("3i")  # pid, uid, gid


class InvalidCredentials(ValueError):
    """A file is missing, not what it should be, or open to others; the text says what to do."""


class Challenge(NamedTuple):
    """A host's answer to a coordinator's nonce, and what it then waits for."""

    nonce: str
    proof: str
    """The host's own."""
    expected: str
    """The coordinator's."""


class Secret:
    """What both ends know. Shown to nobody: neither by `repr` nor on the wire."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def proof(self, side: str, coordinators_nonce: str, hosts_nonce: str) -> str:
        """That this side knows the secret, good for these two nonces alone: HMAC-SHA256."""
        said = "\n".join(("demitasse link", side, coordinators_nonce, hosts_nonce))
        return hmac.new(self._key, said.encode(), "sha256").hexdigest()

    def challenge(self, coordinators_nonce: str) -> Optional[Challenge]:
        """A new one; None where the nonce is none: who proves for a short one proves for good."""
        if not _is_nonce(coordinators_nonce):
            return None
        own = nonce()
        return Challenge(
            own,
            self.proof(HOST, coordinators_nonce, own),
            self.proof(COORDINATOR, coordinators_nonce, own),
        )


class Credentials(NamedTuple):
    """What one end of links over TCP shows, and asks of the other."""

    secret: Optional[Secret] = None
    """None: there are no links over TCP."""
    tls: Optional[ssl.SSLContext] = None
    """None: they are not encrypted."""


def nonce() -> str:
    """A number that was never used before, in hexadecimal digits."""
    return secrets.token_hex(_NONCE_BYTES)


def _is_nonce(text: str) -> bool:
    return len(text) == 2 * _NONCE_BYTES and text.isascii() and text.isalnum()


def same(claimed: str, expected: str) -> bool:
    """Whether two proofs are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(claimed.encode("utf-8", "replace"), expected.encode())


def peer_of(connection: socket.socket) -> Tuple[int, int]:
    """Process and user at the other end of a Unix socket, by the kernel's word."""
    sent = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(sent)
    return pid, uid


def is_our_own(connection: socket.socket) -> bool:
    """Whether the user at the other end of a Unix socket is the one that we run as."""
    return peer_of(connection)[1] == os.geteuid()


def read_secret(path: str) -> Secret:
    """The secret in a file. Raises InvalidCredentials, as `read_key`."""
    return Secret(read_key(path))


def read_key(path: str, max_bytes: int = _MAX_SECRET_BYTES) -> bytes:
    """The content of a file with a secret, without the white space around it.

    Args:
        max_bytes: that it may have where it is used.

    Raises:
        InvalidCredentials: it cannot be read, is open to others, or is too short or long.
    """
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            read_only = bool(os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY)
            key = file.read(_MAX_SECRET_BYTES + 1).strip()
    except OSError as error:
        raise InvalidCredentials(f"{path} cannot be read: {error.strerror}") from error
    why = openness(mode, read_only=read_only)
    if why:
        raise InvalidCredentials(f"{path} {why}: `chmod 600` it")
    if not _MIN_SECRET_BYTES <= len(key) <= max_bytes:
        raise InvalidCredentials(
            f"{path} holds {len(key)} bytes; a secret has {_MIN_SECRET_BYTES} to "
            f"{max_bytes}, such as `openssl rand -hex 32` prints"
        )
    return key


def openness(mode: int, *, read_only: bool) -> str:
    """To whom a file is open that should hold a secret; empty: to nobody who must not have it.

    What `>` makes under the usual umasks is refused (0644, 0664). A group that may
    read was set on purpose. On a file system that is mounted read-only the modes are those of
    whoever hands secrets out to this container, and who else sees them is that mount's affair.

    Args:
        mode: permission bits.
        read_only: how the file's file system is mounted here.
    """
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not read_only:
        return "can be written by other users"
    if mode & stat.S_IROTH and not read_only:
        return "can be read by all users"
    return ""


def tls_of_coordinator(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """For links to hosts whose certificate a CA in this file has signed.

    Args:
        certificate_file, key_file: shown to a host that asks for them; empty: none.

    Raises:
        InvalidCredentials: a file cannot be read, or is no such thing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which asks for the host's name, too
    return _with_files(context, ca_file, certificate_file, key_file)


def tls_of_host(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """For coordinators, who have to show a certificate where `ca_file` names who signs them.

    Raises:
        InvalidCredentials: a file cannot be read, or is no such thing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, ca_file, certificate_file, key_file)


def _with_files(
    context: ssl.SSLContext, ca_file: str, certificate_file: str, key_file: str
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    read = ca_file
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        read = f"{certificate_file} with {key_file}"
        if certificate_file:
            # An encrypted key would have the process ask its terminal, which it has not.
            context.load_cert_chain(certificate_file, key_file, password="")
    except OSError as error:  # ssl.SSLError among them
        reason = error.strerror if type(error) is not ssl.SSLError else "not in PEM, or no pair"
        raise InvalidCredentials(f"{read} cannot be used: {reason or error}") from error
    return context
