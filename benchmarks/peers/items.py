"""The work items: what is sent, in which batches it may be computed, over how many connections."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers import photos
from benchmarks.peers.task import Lent, Task, Work
from benchmarks.requests import NUMBER


@dataclass(frozen=True)
class Item:
    title: str
    work: Work
    body: Callable[[], bytes]
    connections: tuple[int, ...]
    max_batch_size: int
    window_ms: int
    networks: int = 1
    promise_seconds: float | None = None

    def task(self, port: int, workers: int, lent: Lent) -> Task:
        return Task(
            *(port, self.work, workers, self.max_batch_size, self.window_ms, lent),
            *(self.networks, self.promise_seconds),
        )


@functools.cache
def _tensor() -> bytes:
    """37,632 float32, or 224 x 224 x 3 bytes of colour: the first eight spell the number."""
    return NUMBER + bytes(150_528 - len(NUMBER))


@functools.cache
def _document() -> bytes:
    return b'{"inputs":{"x":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.91,%b]}}' % NUMBER


@functools.cache
def _photo() -> bytes:
    """About 165 KB."""
    return photos.jpeg(1024, 768, noise=4, comment=NUMBER)


@functools.cache
def _phone_photo() -> bytes:
    """12 megapixels, about 3.6 MB."""
    return photos.jpeg(4032, 3024, noise=10, comment=NUMBER)


ITEMS = {
    "w1": Item(
        "W1: no-op, tensor of 150,528 bytes", Work.TENSOR, _tensor, (1, 16, 64, 256), 32, 2
    ),
    "w1b": Item("W1b: no-op, JSON of 64 bytes", Work.JSON, _document, (1, 16, 64, 256), 32, 2),
    "w2": Item("W2: ResNet-18, JPEG of 1024 x 768", Work.PHOTO, _photo, (1, 8, 32), 8, 5),
    "w2-phone": Item(
        "W2-phone: ResNet-18, JPEG of 12 megapixels", Work.PHOTO, _phone_photo, (1, 8, 32), 8, 5
    ),
    "pixels": Item("ResNet-18, 224 x 224 pixels as they are", Work.PIXELS, _tensor, (32,), 8, 5),
    "w3": Item(
        "W3: W2 in open loop, good answers within 2 s per second", Work.PHOTO, _photo, (32,), 8, 5,
        promise_seconds=1.5,  # decoding and the road come on top
    ),
    "w4": Item(
        "W4: one JPEG of 1024 x 768, three ResNet-18, one answer",
        Work.PHOTO, _photo, (1, 16), 8, 5, networks=3,
    ),
}  # fmt: skip
