"""Says what a photo shows: a small torch network over seventeen subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import network
import numpy as np
import torch

from minion.frameworks.torch import TorchModel
from minion.model import Answer, Batch, LoadContext

TAGS = 5
LIBRARY = {"numpy": np.__version__, "torch": str(torch.__version__)}


class Tagger(TorchModel):
    def load_network(self, context: LoadContext) -> torch.nn.Module:
        with torch.device("meta"):  # neither memory nor random numbers: all comes from the file
            net = network.network()
        net.load_state_dict(self.weights(context, "weights/tagger.pt"), assign=True)
        return net

    def preprocess(self, batch: Batch) -> torch.Tensor:
        """batch["image"]: (n, 128, 128, 3) uint8 RGB."""
        return network.normalised(self.tensor(batch["image"]))

    def postprocess(self, outputs: torch.Tensor, batch: Batch) -> Sequence[Answer]:
        scores, classes = outputs.softmax(dim=1).topk(TAGS)
        return [
            {"tags": tags(row, order), "library": LIBRARY}
            for row, order in zip(scores.tolist(), classes.tolist(), strict=True)
        ]


def tags(scores: list[float], classes: list[int]) -> list[dict[str, Any]]:
    """The likeliest first; scores of all seventeen add up to 1."""
    return [
        {"label": network.LABELS[index], "score": score}
        for score, index in zip(scores, classes, strict=True)
    ]
