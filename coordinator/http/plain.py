"""The plainest HTTP there is: a request for one model with a body of known length, and its reply.

Such a request is recognised by its head. No parser of HTTP, and not its judge: a
head that is anything else, odd or merely rare, is None here, and aiohttp reads it.
What is taken has one line each of known names, every byte of it printable ASCII,
so that nobody in front of us can have read it differently. Clients send the same
head over and over: those seen lately are not looked at twice.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from coordinator.http.replies import REQUEST_ID_HEADER, SERVER_NAME, Reply
from coordinator.router import ModelRef
from wire.names import NAME, SELECTOR

#: A head starts like this, or it is not plain.
START = b"POST /models/"
END = b"\r\n\r\n"
#: Longer ones are left to aiohttp, which has a limit of its own.
MAX_BYTES = 4096
_REMEMBERED = 1024

_REQUEST = re.compile(rf"POST /models/({NAME})(?:/versions/({SELECTOR}))?/infer HTTP/1\.1".encode())
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*((?:[!-~]+(?: [!-~]+)*)?)[ \t]*")
_LENGTH = re.compile(r"[1-9][0-9]{0,9}")
#: With one of these the body or the connection is no longer plain.
_FOR_AIOHTTP = frozenset(
    {
        "connection",
        "content-encoding",
        "expect",
        "proxy-connection",  # which llhttp takes for `connection`
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class PlainHead(NamedTuple):
    """What a plain request's head says."""

    ref: ModelRef
    """The model, and its version where one is named."""
    length: int
    """Of the body, at least 1."""
    media_type: str
    """In lower case, without parameters."""
    accept: str | None
    timeout: str | None
    """As it was written; unchecked, as are the next two."""
    urgency: str | None
    caller: str | None
    request_id: str | None


class PlainHeads:
    """Reads heads, and remembers what the last ones said."""

    def __init__(self) -> None:
        self._seen: dict[bytes, PlainHead | None] = {}

    def read(self, head: bytes) -> PlainHead | None:
        """What the head says; None where it is for aiohttp.

        Args:
            head: through the empty line that ends it.
        """
        try:
            return self._seen[head]
        except KeyError:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            plain = self._seen[head] = _read(head)
            return plain


def _read(head: bytes) -> PlainHead | None:
    if len(head) > MAX_BYTES:
        return None
    request, *lines = head[: -len(END)].split(b"\r\n")
    asked = _REQUEST.fullmatch(request)
    fields = _fields(lines)
    if asked is None or fields is None or _FOR_AIOHTTP & fields.keys() or "host" not in fields:
        return None
    length = fields.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return None
    return PlainHead(
        ModelRef(asked[1].decode(), asked[2].decode() if asked[2] is not None else None),
        int(length),
        fields.get("content-type", "").partition(";")[0].strip().lower(),
        fields.get("accept"),
        fields.get("demitasse-timeout"),
        fields.get("demitasse-class"),
        fields.get("demitasse-caller"),
        fields.get("x-request-id"),
    )


def _fields(lines: list[bytes]) -> dict[str, str] | None:
    """The header fields by lower-case name; None where one is odd or comes twice.

    `Connection: keep-alive` asks for what is done anyhow and is left out.
    """
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].decode().lower(), match[2].decode()
        if name in fields:
            return None
        if name != "connection" or value.lower() != "keep-alive":
            fields[name] = value
    return fields


def stamp() -> str:
    """The header lines that all replies of this second have."""
    return f"Server: {SERVER_NAME}\r\nDate: {formatdate(usegmt=True)}\r\n"


def written(reply: Reply, request_id: str, stamp: str, *, last: bool) -> bytes:
    """A reply as it goes over the connection, head and body.

    Args:
        stamp: header lines that all replies have for the time being.
        last: nothing more is answered on this connection.
    """
    more = "" if reply.retry_after is None else f"Retry-After: {reply.retry_after}\r\n"
    if last:
        more += "Connection: close\r\n"
    head = (
        f"{_STATUS_LINES[reply.status]}Content-Type: {reply.content_type}\r\n"
        f"Content-Length: {len(reply.body)}\r\n{REQUEST_ID_HEADER}: {request_id}\r\n"
        f"{stamp}{more}\r\n"
    )
    return head.encode() + reply.body
