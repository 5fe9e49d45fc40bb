"""Length-prefixed frames: bytes in, frames out, and back.

    0       2         3      4             8             16        24
    | "DM"  | version | kind | head length | body length |   id    | head | body |

All numbers are little endian. The head is a msgpack map, the body raw tensor
bytes. This module splits and joins; what a kind means is for `messages`.
Lengths are compared with the limits as soon as a header is complete. Of the memory
for a frame that was announced, pages are taken as it arrives.
"""

from __future__ import annotations

import struct
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from wire.errors import WireError
from wire.tensor import Buffer, made

PROTOCOL_VERSION = 3
MAGIC = b"DM"
#: What an HTTP connection is upgraded to before the first frame of a link.
UPGRADE_TOKEN: str = f"demitasse/{PROTOCOL_VERSION}"
HEADER = struct.Struct("<2sBBIQQ")

#: The largest head seen is a batch result: some 100 bytes an example beside the answers.
MAX_HEAD_BYTES = 64 * 2**20
#: Sixty-four photos of 4 megapixels as raw pixels; links lower it to what a model can take.
MAX_BODY_BYTES = 1024 * 2**20
#: What a host takes in one frame: the half of the memory it shares with a worker that holds
#: inputs. It ends a connection on which more is announced, and all that is in flight there.
MAX_EXAMPLE_BYTES: int = 256 * 2**20

#: Frames up to this size are joined into one buffer: below it a copy is
#: cheaper than one more entry for writev (aiohttp draws the same line at 64 KiB).
_JOIN_BYTES = 32 * 1024


class Frame(NamedTuple):
    """One frame. `head` and `body` stay valid as long as the frame is held."""

    kind: int
    id: int
    head: memoryview
    body: memoryview


def encode_frame(kind: int, id: int, head: bytes, body: Sequence[Buffer] = ()) -> List[Buffer]:
    """The buffers of one frame, in order; `body` buffers are not copied where they are large."""
    size = sum(map(len, body)) if body else 0
    header = HEADER.pack(MAGIC, PROTOCOL_VERSION, kind, len(head), size, id)
    if size <= _JOIN_BYTES:
        return [b"".join((header, head, *body))]
    return [header + head, *body]


def fresh(size_bytes: int) -> memoryview:
    """Memory of this size, not zeroed: pages are taken as they are written."""
    return np.empty(size_bytes, np.uint8).data


class FrameReader:
    """Takes bytes as they arrive and gives back the frames they complete.

    Whoever can choose where bytes are received asks for `place` first: the rest
    of a frame that has begun goes there, and is not copied again.
    """

    def __init__(
        self,
        *,
        max_head_bytes: int = MAX_HEAD_BYTES,
        max_body_bytes: int = MAX_BODY_BYTES,
        allocate: Callable[[int], memoryview] = fresh,
    ) -> None:
        """
        Args:
            allocate: gives memory for a frame that arrives in pieces.
        """
        self._allocate = allocate
        self.limit(max_head_bytes, max_body_bytes)
        self._begun = b""  # less than a header
        self._frame: Optional[memoryview] = None  # a frame that is being completed,
        self._filled = 0  # of which so much is there

    def limit(self, max_head_bytes: int, max_body_bytes: int) -> None:
        """What frames that have not begun yet may have."""
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that `data` completes, oldest first. The reader keeps the rest.

        Raises:
            WireError: not a frame of this protocol, or longer than allowed. The
                reader is of no use afterwards.
        """
        frames: List[Frame] = []
        view = memoryview(data)
        if self._frame is not None:
            taken = min(len(view), len(self._frame) - self._filled)
            self._frame[self._filled : self._filled + taken] = view[:taken]
            frames += self.filled(taken)
            view = view[taken:]
        elif self._begun:
            view = memoryview(self._begun + data)
            self._begun = b""
        start, arrived = 0, len(view)
        while arrived - start >= HEADER.size:
            kind, id, head_end, end = self._measure(view, start)
            if end > arrived:
                self._frame, self._filled = self._allocate(end - start), arrived - start
                self._frame[: self._filled] = view[start:]
                return frames
            head = view[start + HEADER.size : head_end]
            frames.append(made(Frame, (kind, id, head, view[head_end:end])))
            start = end
        self._begun = bytes(view[start:])
        return frames

    @property
    def place(self) -> Optional[memoryview]:
        """Where the rest of a frame may be received; None where none has begun."""
        return None if self._frame is None else self._frame[self._filled :]

    def filled(self, size_bytes: int) -> List[Frame]:
        """So much of `place` was written: the frame, if it is complete."""
        frame = self._frame
        assert frame is not None
        self._filled += size_bytes
        if self._filled < len(frame):
            return []
        self._frame = None
        kind, id, head_end, _ = self._measure(frame, 0)
        return [Frame(kind, id, frame[HEADER.size : head_end], frame[head_end:])]

    def _measure(self, view: memoryview, start: int) -> "tuple[int, int, int, int]":
        """Kind and id of the frame that starts there, and where its head and its body end."""
        magic, version, kind, head, body, id = HEADER.unpack_from(view, start)
        if magic != MAGIC:
            raise WireError("not a frame: the first two bytes are not 'DM'")
        if version != PROTOCOL_VERSION:
            raise WireError(f"protocol version {version}, this side speaks {PROTOCOL_VERSION}")
        if head > self._max_head_bytes:
            raise WireError(f"a head of {head} bytes, at most {self._max_head_bytes} are allowed")
        if body > self._max_body_bytes:
            raise WireError(f"a body of {body} bytes, at most {self._max_body_bytes} are allowed")
        head_end = start + HEADER.size + head
        return kind, id, head_end, head_end + body
