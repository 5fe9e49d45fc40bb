"""What a compressed body becomes, never more than is granted.

In pieces, so that a bomb is known by its first byte too many. Called in a thread:
8 MiB take some 20 ms. Knows no request.

Source: RFC 1952 (gzip), RFC 1950 (what HTTP calls deflate: RFC 9110, 8.4.1.2).
"""

from __future__ import annotations

import zlib

from coordinator.errors import InvalidEncodedBody, PayloadTooLarge
from wire.tensor import Buffer

#: Content-Encoding -> the window bits by which zlib knows the format.
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_PIECE_BYTES = 256 * 1024


def inflate(body: Buffer, encoding: str, max_bytes: int) -> bytes:
    """The body as it was before it was compressed.

    Args:
        encoding: one of `WINDOW_BITS`.

    Raises:
        InvalidEncodedBody: it is not what the encoding says, ends too early, or goes on.
        PayloadTooLarge: it becomes longer than `max_bytes`.
    """
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    pieces: list[bytes] = []
    size, rest = 0, body
    while not inflater.eof:
        try:
            piece = inflater.decompress(rest, min(_PIECE_BYTES, max_bytes - size + 1))
        except zlib.error as error:
            raise InvalidEncodedBody(f"the body is not {encoding}") from error
        size += len(piece)
        if size > max_bytes:
            raise PayloadTooLarge(
                f"the body becomes longer than the {max_bytes} bytes that are accepted of one "
                "that was compressed"
            )
        rest = inflater.unconsumed_tail
        if not piece and not rest and not inflater.eof:
            raise InvalidEncodedBody(f"the body ends before its {encoding} does")
        pieces.append(piece)
    if inflater.unused_data:
        raise InvalidEncodedBody(f"the body goes on after its {encoding} has ended")
    return b"".join(pieces)
