"""Where one request on a connection ends and the next one begins: heads, and bodies.

Only so that the parser is given one request at a time: what comes behind one that cannot
be parsed does not take it along, and what waits is known. What is HTTP, the parser alone
decides, byte by byte; here it is enough to count. Plain rules, no socket; `watched` asks.
"""

from __future__ import annotations

import math
import re

#: The line end before and the empty line that ends a head.
_END = b"\r\n\r\n"
#: What all lines of a head may have together; one line: 8190 bytes (aiohttp's own limit).
MAX_HEAD_BYTES = 32 * 1024
#: A chunk's size, and what is kept of its line until that ends.
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[;\r]|$)")
_LINE_BYTES = 32
#: So many chunks may be as small as they like; of more, whose average is below, the end is not
#: looked for: that would take longer than to parse them.
_CHUNKS = 1024
_CHUNK_BYTES = 64


class HeadWatch:
    """How long a head has been arriving, how long it is, and where it ends."""

    __slots__ = ("_size", "_tail", "complete", "since")

    def __init__(self) -> None:
        self.expect()

    def expect(self) -> None:
        """The next bytes belong to a head."""
        self._size = 0
        self._tail = b""
        self.complete = False
        self.since: float | None = None
        """When the first byte arrived of a head that nobody has taken up yet."""

    def taken(self) -> None:
        """Somebody answers it."""
        self.since = None

    def wait(self, now: float) -> None:
        """It cannot be answered yet: its time begins again."""
        if self.since is not None:
            self.since = now

    @property
    def too_long(self) -> bool:
        return self._size > MAX_HEAD_BYTES

    def feed(self, data: bytes, now: float) -> int:
        """Looks at what arrived; how many of these bytes are the head's."""
        if self.since is None:
            self.since = now
        # RFC 9112, 2.2: empty lines before a request are skipped.
        start = 0 if self._size else len(data) - len(data.lstrip(b"\r\n"))
        before = len(self._tail)
        window = self._tail + data[start : start + MAX_HEAD_BYTES + len(_END)]
        end = window.find(_END)
        if end < 0:
            self._size += len(data) - start
            self._tail = window[-len(_END) + 1 :]
            return len(data)
        self._size += max(0, end - before)
        self.complete = True
        return start + end + len(_END) - before


class BodyWatch:
    """Where a body ends. One that the parser will refuse has no end that can be told."""

    __slots__ = ("_chunked", "_chunks", "_last", "_left", "_line", "_size", "complete")

    def __init__(self, length: int | None) -> None:
        """
        Args:
            length: in bytes; None: in chunks.
        """
        self._chunked = length is None
        self._left: float = length or 0  # bytes, of the body or a chunk
        self._chunks = self._size = 0
        self._line = b""  # that has not ended
        self._last = False  # only trailers follow
        self.complete = length == 0

    @property
    def lost(self) -> bool:
        """Whether nobody will tell where it ends."""
        return self._left == math.inf

    def feed(self, data: bytes) -> int:
        """Looks at what arrived; how many of these bytes are the body's."""
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                if self.lost:
                    return len(data)
                step = int(min(self._left, len(data) - at))
                self._left -= step
                at += step
                self.complete = not self._chunked and not self._left
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line = (self._line + data[at:])[:_LINE_BYTES]
                return len(data)
            self._read((self._line + data[at:end])[:_LINE_BYTES])
            self._line = b""
            at = end + 1
        return at

    def _read(self, line: bytes) -> None:
        """One line among chunks (RFC 9112, 7.1)."""
        if self._last:
            self.complete = line in (b"\r", b"")
            return
        digits = _SIZE.match(line)
        size = int(digits[0], 16) if digits else 0
        self._chunks += 1
        self._size += size
        tiny = self._chunks > _CHUNKS and self._size < _CHUNK_BYTES * self._chunks
        if digits is None or tiny:
            self._left = math.inf
            return
        self._last = not size
        self._left = size and size + len(b"\r\n")
