"""The network of every peer, as a model of ours."""

from __future__ import annotations

from collections.abc import Sequence

import resnet
import torch

from minion.frameworks.torch import TorchModel
from minion.model import Answer, Batch, LoadContext


class Photo(TorchModel):
    def load_network(self, context: LoadContext) -> torch.nn.Module:
        network = resnet.network()
        network.load_state_dict(self.weights(context, "resnet.pt"))
        return resnet.served(network)

    def preprocess(self, batch: Batch) -> torch.Tensor:
        """batch["image"]: (n, 224, 224, 3) uint8 RGB."""
        return resnet.normalised(self.tensor(batch["image"]))

    def postprocess(self, outputs: torch.Tensor, batch: Batch) -> Sequence[Answer]:
        return [{"top": top} for top in resnet.top5(outputs)]
