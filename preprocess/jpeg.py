"""What decoding a JPEG takes, and what of it is missing, told from its markers alone.

A progressive JPEG keeps all coefficients until its last scan, and each scan is a walk over
them that may hardly take a byte. Called by `decode` before any reader sees the file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Of a photo: Huffman coded, in one pass or several. Arithmetic coding costs many times as
#: much for each byte, and no camera or browser writes it.
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2

_START_OF_SCAN, _END_OF_IMAGE, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
#: All ways to code a frame; 0xC4, 0xC8 and 0xCC are something else.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
#: With a length behind it, the end of the image apart. Stuffed bytes, fill bytes and
#: restarts stand within a scan's data; other codes end the decode or say nothing.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
#: What ends a scan's data for libjpeg: all but stuffed and fill bytes, and restarts where the
#: image has them.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff]")
_END_OF_SCAN_WITH_RESTARTS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_BLOCK = 8
_ALL_FREQUENCIES = (1 << _BLOCK**2) - 1
_BYTES_OF_A_BLOCK = 2 * _BLOCK**2


class Survey(NamedTuple):
    """What libjpeg will find, by its own rules: what stands in a segment counts for nothing."""

    segments: int
    """All that are marked, scans as well."""
    coding: int | None
    """Of the first frame; None where there is none."""
    scans: int
    visits: int
    """Blocks, each as often as a scan comes to it."""
    coefficient_bytes: int
    """What is held until the last scan; 0 where one scan has everything."""
    end: int | None
    """Of the data of a scan that has everything: where the marker behind it stands, if one does."""
    complete: bool
    """Each component has its means, and the first all its frequencies, in some scan."""


def survey(data: bytes, *, most_scans: int, most_segments: int) -> Survey:
    """
    Args:
        most_scans: one more, and the rest of the file is not looked at.
        most_segments: likewise.
    """
    coding, blocks, scans, visits, parts = None, dict[int, int](), 0, 0, 0
    segments, restarts, end = 0, False, None
    sent = dict[int, int]()
    position = 2
    while scans <= most_scans and segments <= most_segments:
        found = _MARKER.search(data, position)
        if found is None:
            break
        segments += 1
        position = found.end()
        marker = data[position - 1]
        if marker == _END_OF_IMAGE:
            break
        behind = position + int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : behind]
        position = behind
        if marker in _FRAMES and coding is None:
            coding, blocks = marker, _blocks(segment)
        elif marker == _RESTART_INTERVAL:
            restarts = any(segment[:2])
        elif marker == _START_OF_SCAN:
            scans += 1
            named = segment[1 : 1 + 2 * segment[0] : 2] if segment else b""
            parts = max(parts, len(named))
            visits += sum(blocks.get(each, 0) for each in named)
            frequencies = _frequencies(segment, len(named), coding)
            sent |= {each: sent.get(each, 0) | frequencies for each in named}
            if scans == 1:
                end = _end_of_scan(data, position, restarts)
                position = len(data) if end is None else end
    at_once = coding != PROGRESSIVE and scans <= 1 and parts >= len(blocks)
    held = 0 if at_once else sum(blocks.values()) * _BYTES_OF_A_BLOCK
    complete = all(sent.get(each, 0) & 1 for each in blocks) and all(
        sent.get(each, 0) == _ALL_FREQUENCIES for each in list(blocks)[:1]
    )
    return Survey(segments, coding, scans, visits, held, end if at_once else None, complete)


def _end_of_scan(data: bytes, start: int, restarts: bool) -> int | None:
    found = (_END_OF_SCAN_WITH_RESTARTS if restarts else _END_OF_SCAN).search(data, start)
    return None if found is None else found.start()


def _frequencies(scan: bytes, parts: int, coding: int | None) -> int:
    """A bit for each coefficient that the scan has something of."""
    if coding != PROGRESSIVE:
        return _ALL_FREQUENCIES
    first, last, *_ = (*scan[1 + 2 * parts : 3 + 2 * parts], 0, 0)
    return sum(1 << each for each in range(first, min(last + 1, _BLOCK**2)))


def _blocks(frame: bytes) -> dict[int, int]:
    """How many there are of each component."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampled = [
        (part[0], part[1] >> 4, part[1] & 15)
        for part in (frame[at : at + 3] for at in range(6, len(frame) - 2, 3))
    ]
    widest = max((across for _, across, _ in sampled), default=1) or 1
    tallest = max((down for _, _, down in sampled), default=1) or 1
    blocks: dict[int, int] = {}
    for number, across, down in sampled:  # two of one number have memory each
        wide, high = (
            -(-width * across // (widest * _BLOCK)),
            -(-height * down // (tallest * _BLOCK)),
        )
        blocks[number] = blocks.get(number, 0) + wide * high
    return blocks
