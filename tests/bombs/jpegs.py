"""JPEGs written marker by marker: scans that cost a walk over the image and hardly a byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, ARITHMETIC, ARITHMETIC_PROGRESSIVE = (
    0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA,
)  # fmt: skip
#: Of a run of blocks that end at once: so many bits of its length follow the code.
_RUN_BITS = 14
_LONGEST_RUN = 2 ** (_RUN_BITS + 1) - 1


class Part(NamedTuple):
    """A component: its sampling factors."""

    across: int = 1
    down: int = 1


FULL_COLOUR = (Part(), Part(), Part())
INKS = (Part(),) * 4


def marker(code: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def jpeg(
    width: int, height: int, parts: Sequence[Part], *scans: bytes, frame: int, extra: bytes = b""
) -> bytes:
    """Scans as `first`, `refinement` and `baseline` write them.

    Every Huffman code is one bit, 0: for DC no difference, for AC the end of the block, or in
    progressive images that of the longest runs of them.
    """
    sizes = b"".join(
        bytes([number, each.across << 4 | each.down, 0]) for number, each in enumerate(parts, 1)
    )
    symbol = 0 if frame in (BASELINE, EXTENDED) else _RUN_BITS << 4
    return b"".join(
        [
            b"\xff\xd8",
            extra,
            marker(0xDB, b"\0" + b"\x01" * 64),
            marker(frame, struct.pack(">BHHB", 8, height, width, len(parts)) + sizes),
            marker(0xC4, b"\0" + b"\x01" + bytes(15) + b"\0"),
            marker(0xC4, b"\x10" + b"\x01" + bytes(15) + bytes([symbol])),
            *scans,
            b"\xff\xd9",
        ]
    )


def start(
    parts: Sequence[int], first: int = 0, last: int = 63, high: int = 0, low: int = 0
) -> bytes:
    named = b"".join(bytes([number, 0]) for number in parts)
    return marker(0xDA, bytes([len(parts)]) + named + bytes([first, last, high << 4 | low]))


def blocks(width: int, height: int) -> int:
    return -(-width // 8) * -(-height // 8)


def baseline(width: int, height: int, parts: Sequence[int]) -> bytes:
    """One scan of all of these, sampled alike: two bits a block."""
    return start(parts) + bytes(-(-blocks(width, height) * len(parts) * 2 // 8))


def coarse(width: int, height: int, parts: Sequence[int]) -> bytes:
    """The first scan of a progressive image, DC alone: a bit a block."""
    return start(parts, 0, 0, 0, 1) + bytes(-(-blocks(width, height) * len(parts) // 8))


def refinement(width: int, height: int, part: int = 1, *, high: int = 1) -> bytes:
    """A scan over all AC coefficients of one component that refines none of them."""
    runs = -(-blocks(width, height) // _LONGEST_RUN)
    bits = ("0" + "1" * _RUN_BITS) * runs
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return start([part], 1, 63, high, max(high - 1, 0)) + data.replace(b"\xff", b"\xff\0")


def dc_refinement(width: int, height: int, parts: Sequence[int]) -> bytes:
    return start(parts, 0, 0, 1, 0) + bytes(-(-blocks(width, height) * len(parts) // 8))
