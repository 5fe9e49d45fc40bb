"""multipart/form-data as a function: bytes in, parts out, nothing copied.

The whole body is here already and has been weighed by `body`, so there is no
stream to follow and nothing to write to a disk. aiohttp's reader takes a body
8 KB at a time and limits neither the number of parts nor their headers; this
one does both before it looks at a part. Called by `payloads` alone.

Source: RFC 2046, 5.1.1 (delimiters), RFC 7578 (form-data).
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from coordinator.errors import InvalidMultipart, PayloadTooLarge
from wire.quoting import quoted

#: As aiohttp's own limit for one header field; a browser sends some 150 bytes.
MAX_PART_HEADER_BYTES = 8190
#: RFC 2046, 5.1.1: at most 70 characters.
MAX_BOUNDARY_LENGTH = 70

_PARAMETER = re.compile(r';\s*([\w*.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))', re.ASCII)
_PLAIN_TRANSFERS = ("7bit", "8bit", "binary")


class Part(NamedTuple):
    """One field of a form. `data` is a view of the body."""

    name: str | None
    filename: str | None
    data: memoryview


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        InvalidMultipart: there is none, or not one that RFC 2046 allows.
    """
    boundary = _parameters(content_type).get("boundary", "")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_LENGTH or not boundary.isascii():
        raise InvalidMultipart(
            "the Content-Type names no boundary of 1 to 70 characters", field="Content-Type"
        )
    return boundary.encode()


def split(body: bytes, boundary: bytes, *, max_parts: int) -> list[Part]:
    """The parts of a body, in order.

    Raises:
        InvalidMultipart: a boundary is missing or misplaced, or a part's header is broken.
        PayloadTooLarge: more than `max_parts`, or a part's header is too long.
    """
    view = memoryview(body)
    delimiter = b"--" + boundary
    between = b"\r\n" + delimiter
    position = _first(body, delimiter, between)
    parts: list[Part] = []
    while not body.startswith(b"--", position):
        if len(parts) == max_parts:
            raise PayloadTooLarge(f"the form has more than {max_parts} parts")
        start = _line_end(body, position)
        header, data_start = _header(body, start, len(parts))
        # A part without content may leave out the line end between its header and the boundary.
        data_end = body.find(between, data_start - 2)
        if data_end < 0:
            raise InvalidMultipart(f"part {len(parts)} has no closing boundary")
        parts.append(_part(header, view[data_start : max(data_end, data_start)], len(parts)))
        position = data_end + len(between)
    return parts


def _first(body: bytes, delimiter: bytes, between: bytes) -> int:
    """Where the bytes after the first delimiter begin; before it may stand a preamble."""
    if body.startswith(delimiter):
        return len(delimiter)
    found = body.find(between)
    if found < 0:
        raise InvalidMultipart("the boundary that the Content-Type names is not in the body")
    return found + len(between)


def _line_end(body: bytes, position: int) -> int:
    end = body.find(b"\r\n", position, position + MAX_BOUNDARY_LENGTH)
    if end < 0 or body[position:end].strip(b" \t"):
        raise InvalidMultipart("a boundary is followed by something else than the end of its line")
    return end + 2


def _header(body: bytes, start: int, index: int) -> tuple[bytes, int]:
    if body.startswith(b"\r\n", start):
        return b"", start + 2
    end = body.find(b"\r\n\r\n", start, start + MAX_PART_HEADER_BYTES)
    if end >= 0:
        return body[start:end], end + 4
    if len(body) - start >= MAX_PART_HEADER_BYTES:
        raise PayloadTooLarge(
            f"the header of part {index} is longer than {MAX_PART_HEADER_BYTES} bytes"
        )
    raise InvalidMultipart(f"the header of part {index} does not end")


def _part(header: bytes, data: memoryview, index: int) -> Part:
    fields: dict[str, str] = {}
    try:
        lines = header.decode().split("\r\n") if header else []
    except UnicodeDecodeError as error:
        raise InvalidMultipart(f"the header of part {index} is not UTF-8") from error
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidMultipart(f"the header of part {index} has a line without a colon")
        fields[name.strip().lower()] = value.strip()
    transfer = fields.get("content-transfer-encoding", "binary").lower()
    if transfer not in _PLAIN_TRANSFERS:
        raise InvalidMultipart(
            f"part {index} has Content-Transfer-Encoding {quoted(transfer)}; "
            "send the bytes themselves"
        )
    parameters = _parameters(fields.get("content-disposition", ""))
    return Part(parameters.get("name"), _filename(parameters, index), data)


def _filename(parameters: dict[str, str], index: int) -> str | None:
    extended = parameters.get("filename*")
    if extended is not None and extended.lower().startswith("utf-8''"):
        try:
            return unquote(extended[7:], errors="strict")
        except UnicodeDecodeError as error:
            raise InvalidMultipart(f"the file name of part {index} is not UTF-8") from error
    return parameters.get("filename")


def _parameters(header: str) -> dict[str, str]:
    return {
        match[1].lower(): match[3] if match[2] is None else _unescape(match[2])
        for match in _PARAMETER.finditer(header)
    }


def _unescape(quoted: str) -> str:
    """Undo what clients do to a quote in a name: a backslash (curl), or %22 (browsers)."""
    return quoted.replace('\\"', '"').replace("%22", '"')
