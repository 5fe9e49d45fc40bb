"""Length-prefixed frames: bytes in, frames out, and back.

    0       2         3      4             8             16        24
    | "DM"  | version | kind | head length | body length |   id    | head | body |

All numbers are little endian. The head is a msgpack map, the body raw tensor
bytes. This module splits and joins; what a kind means is for `messages`.
Lengths are compared with the limits as soon as a header is complete, and memory
is taken for what has arrived, never for what is announced.
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Optional, Sequence

from wire.errors import WireError
from wire.tensor import Buffer

PROTOCOL_VERSION = 1
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
    size = sum(map(len, body))
    header = HEADER.pack(MAGIC, PROTOCOL_VERSION, kind, len(head), size, id)
    if size <= _JOIN_BYTES:
        return [b"".join((header, head, *body))]
    return [header + head, *body]


class FrameReader:
    """Takes bytes as they arrive and gives back the frames they complete."""

    def __init__(
        self, *, max_head_bytes: int = MAX_HEAD_BYTES, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes
        self._pending: Optional[bytearray] = None  # the frame that is being completed
        self._size = 0  # of which so much is awaited: its header first, then all of it

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that `data` completes, oldest first. The reader keeps the rest.

        Raises:
            WireError: not a frame of this protocol, or longer than allowed. The
                reader is of no use afterwards.
        """
        frames: List[Frame] = []
        view = memoryview(data)
        while len(view):
            if self._pending is None:
                view = self._start(view, frames)
            else:
                view = self._continue(view, frames)
        return frames

    def _start(self, view: memoryview, frames: List[Frame]) -> memoryview:
        if len(view) < HEADER.size:
            self._pending, self._size = bytearray(), HEADER.size
            return self._continue(view, frames)
        kind, id, head_end, size = self._measure(view)
        if len(view) < size:
            # It grows by an eighth at a time: 150 KB in pieces of 64 take 7 us; 12 when all
            # was taken at once and zeroed first (2026-11-21, Xeon of two cores, shared).
            self._pending, self._size = bytearray(), size
            return self._continue(view, frames)
        frames.append(Frame(kind, id, view[HEADER.size : head_end], view[head_end:size]))
        return view[size:]

    def _continue(self, view: memoryview, frames: List[Frame]) -> memoryview:
        pending = self._pending
        assert pending is not None
        taken = min(len(view), self._size - len(pending))
        pending += view[:taken]
        if len(pending) == self._size:
            self._complete(pending, frames)
        return view[taken:]

    def _complete(self, pending: bytearray, frames: List[Frame]) -> None:
        whole = memoryview(pending)
        kind, id, head_end, size = self._measure(whole)
        if size > len(pending):
            whole.release()
            self._size = size
            return
        self._pending = None
        frames.append(Frame(kind, id, whole[HEADER.size : head_end], whole[head_end:]))

    def _measure(self, view: memoryview) -> "tuple[int, int, int, int]":
        magic, version, kind, head, body, id = HEADER.unpack_from(view)
        if magic != MAGIC:
            raise WireError("not a frame: the first two bytes are not 'DM'")
        if version != PROTOCOL_VERSION:
            raise WireError(f"protocol version {version}, this side speaks {PROTOCOL_VERSION}")
        if head > self._max_head_bytes:
            raise WireError(f"a head of {head} bytes, at most {self._max_head_bytes} are allowed")
        if body > self._max_body_bytes:
            raise WireError(f"a body of {body} bytes, at most {self._max_body_bytes} are allowed")
        head_end = HEADER.size + head
        return kind, id, head_end, head_end + body
