"""The network of `caption`, as TensorFlow 1 would have served it: one frozen graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import google.protobuf
import numpy as np

from minion.frameworks.tensorflow import FrozenGraph, tf
from minion.model import Answer, Batch, LoadContext

END = 0
LIBRARY = {
    "numpy": np.__version__,
    "protobuf": google.protobuf.__version__,
    "tensorflow": tf.__version__,
}


class CaptionFrozen(FrozenGraph):
    """batch["image"]: (n, 96, 96, 3) uint8 RGB; the graph writes the whole sentence."""

    file = "weights/frozen_graph.pb"
    inputs: ClassVar = {"image": "image:0"}
    outputs: ClassVar = {"tokens": "Identity_1:0", "confidence": "Identity:0"}

    def load(self, context: LoadContext) -> None:
        super().load(context)
        self.words = json.loads(context.path("weights/words.json").read_text())

    def postprocess(self, outputs: Mapping[str, np.ndarray], batch: Batch) -> Sequence[Answer]:
        """outputs: tokens (n, 16) int32; confidence (n,) float32, 0..1."""
        return [
            {"caption": self.sentence(tokens), "confidence": confidence, "library": LIBRARY}
            for tokens, confidence in zip(
                outputs["tokens"].tolist(),
                outputs["confidence"].astype(float).tolist(),
                strict=True,
            )
        ]

    def sentence(self, tokens: list[int]) -> str:
        end = tokens.index(END) if END in tokens else len(tokens)
        return " ".join(self.words[token] for token in tokens[:end])
