"""What every peer does with a batch of request bodies: the same lines for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.peers.task import Lent, Task, Work

Handler = Callable[[Sequence[bytes]], list[dict[str, Any]]]


def handler(task: Task) -> Handler:
    """A function from the bodies of a batch to one answer each; loads the networks."""
    if task.work is Work.TENSOR:
        return lambda bodies: [{"n": np.frombuffer(body, "<f4").size} for body in bodies]
    if task.work is Work.JSON:
        return lambda bodies: [{"n": len(json.loads(body)["inputs"]["x"])} for body in bodies]
    return Photos(task)


class Photos:
    """Decodes and classifies; `decode` and `classify` apart for who has a stage for each."""

    def __init__(self, task: Task) -> None:
        import torch

        from benchmarks.peers import photo, resnet

        torch.set_num_threads(1)
        self.decode = photo.pixels if task.work is Work.PIXELS else photo.decoder(task.lent)
        self._networks = [resnet.served(resnet.drawn(seed)) for seed in range(task.networks)]
        if task.lent is Lent.COMPILED:
            self._compile(task.max_batch_size)

    def _compile(self, max_batch_size: int) -> None:
        """As our torch base does, warm-up included."""
        import torch

        from minion.frameworks.torch_compile import compiled
        from minion.frameworks.torch_kernels import Kernels

        kernels = Kernels()
        place = torch.device("cpu")
        self._networks = [
            compiled(network, "default", place, max_batch_size) for network in self._networks
        ]
        for size in (1, max_batch_size):
            self.classify([np.zeros((224, 224, 3), np.uint8)] * size)
        kernels.keep()

    def classify(self, photos: Sequence[np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
        """photos: (224, 224, 3) uint8 each."""
        import torch

        from benchmarks.peers import resnet

        pixels = resnet.normalised(torch.from_numpy(np.stack(photos)))
        with torch.inference_mode():
            tops = [resnet.top5(network(pixels)) for network in self._networks]
        return [{"top": list(each)} for each in zip(*tops)]  # noqa: B905

    def __call__(self, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
        return self.classify([self.decode(body) for body in bodies])
