"""How a connection becomes a link: an HTTP upgrade, and over TCP a proof by either side.

Bytes in, bytes out. The coordinator's nonce travels in the request, the host's own and its
proof in the answer, and the coordinator's proof in the Hello that follows: nothing of the
coordinator's is said to a host that has proved nothing.
"""

from __future__ import annotations

from wire.credentials import (
    COORDINATOR,
    HOST,
    NONCE_HEADER,
    PROOF_HEADER,
    Secret,
    nonce,
    same,
)
from wire.errors import WireError
from wire.frames import UPGRADE_TOKEN

_SWITCHED = "HTTP/1.1 101 "
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 8192


class Upgrade:
    """One upgrade under way, as the coordinator sees it."""

    def __init__(self, secret: Secret | None) -> None:
        """
        Args:
            secret: that the host has to know; None: the kernel says who it is.
        """
        self.proof = ""
        """The coordinator's, once the host has proved that it knows the secret."""
        self._secret = secret
        self._nonce = nonce()
        self._answer = b""

    @property
    def request(self) -> bytes:
        lines = [
            "GET /link HTTP/1.1",
            "Host: minion",
            "Connection: Upgrade",
            f"Upgrade: {UPGRADE_TOKEN}",
        ]
        if self._secret is not None:
            lines.append(f"{NONCE_HEADER}: {self._nonce}")
        return "\r\n".join([*lines, "", ""]).encode()

    def feed(self, data: bytes) -> bytes | None:
        """What follows the answer; None while that is incomplete.

        Raises:
            WireError: the host refused, has no end to its answer, or does not know the secret.
        """
        head, end, rest = (self._answer + data).partition(_HEAD_END)
        if not end:
            self._answer = head
            if len(head) > _MAX_HEAD_BYTES:
                raise WireError("the answer to the upgrade has no end")
            return None
        status, *lines = head.decode("latin-1").split("\r\n")
        if not status.startswith(_SWITCHED):
            raise WireError("the minion refused the upgrade")
        if self._secret is not None:
            self.proof = self._proved(self._secret, lines)
        return rest

    def _proved(self, secret: Secret, lines: list[str]) -> str:
        """The coordinator's proof, for a host whose own is right. Raises WireError."""
        named = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in named}
        theirs = headers.get(NONCE_HEADER.lower(), "")
        claimed = headers.get(PROOF_HEADER.lower(), "")
        if not same(claimed, secret.proof(HOST, self._nonce, theirs)):
            raise WireError("the minion does not know the secret")
        return secret.proof(COORDINATOR, self._nonce, theirs)
