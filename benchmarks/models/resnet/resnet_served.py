"""ResNet-18's arithmetic on the torch base, as plain as an author would write it.

`gpu.py` puts `peers/resnet.py` beside it.
"""

from __future__ import annotations

import resnet
import torch

from minion.frameworks.torch import TorchModel
from minion.model import Answer, Batch, LoadContext


class Served(TorchModel):
    def load_network(self, context: LoadContext) -> torch.nn.Module:
        return resnet.drawn(0).to(memory_format=torch.channels_last)

    def preprocess(self, batch: Batch) -> torch.Tensor:
        """batch["image"]: (n, 224, 224, 3) uint8 RGB."""
        return self.tensor(batch["image"]).permute(0, 3, 1, 2).float().sub_(127.5).div_(58.0)

    def postprocess(self, outputs: torch.Tensor, batch: Batch) -> list[Answer]:
        return [{"class": number} for number in outputs.argmax(dim=1).tolist()]
