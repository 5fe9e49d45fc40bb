"""What a deployment takes of its machine: ports, and a folder for sockets.

Every refusal is a `DeploymentError` that says what to choose instead.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path

#: sockaddr_un has 108 bytes; a socket's name takes 22 of them.
MAX_SOCKET_FOLDER = 80


class DeploymentError(Exception):
    """Nothing was started; the text says why, where, and what to do."""


def cores() -> int:
    """Those that we may run on, which a container or taskset makes fewer than there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address(host: str, port: int) -> str:
    """Of a listener, as it stands in a URL: a host with colons in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def claim_port(host: str, port: int, flag: str) -> socket.socket:
    """Holds a port for the processes that will share it, as long as the socket is open.

    Args:
        port: 0 takes a free one; the socket says which.

    Raises:
        DeploymentError: somebody else has it, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    claim = socket.socket(family)
    try:
        if family == socket.AF_INET6:  # as of those that listen: `::` is not 0.0.0.0 as well
            claim.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind((host, port))
        # After the bind: others who share their port must not be joined by accident.
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        claim.close()
        raise DeploymentError(
            f"{address(host, port)} cannot be listened on: {error.strerror}; choose another {flag}"
        ) from error
    return claim


def socket_folder(run: Path) -> Path:
    """The run folder, or a short-named stand-in where its path is too long for sockets;
    either is its owner's alone.

    Raises:
        DeploymentError: somebody else has made the stand-in, and could listen there.
    """
    if len(os.fsencode(run)) <= MAX_SOCKET_FOLDER:
        run.chmod(0o700)  # whoever made it
        return run
    name = hashlib.sha256(str(run).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"demitasse-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise DeploymentError(f"{folder} belongs to somebody else; choose a shorter --home")
    return folder
