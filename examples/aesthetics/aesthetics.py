"""Scores the technical quality of a photo: a small Keras network on TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minion.frameworks.keras import KerasModel, keras, tf
from minion.model import Answer, Batch

GRADES = ((0.7, "good"), (0.4, "fair"), (0.0, "poor"))
LIBRARY = {
    "keras": keras.__version__,
    "numpy": np.__version__,
    "tensorflow": tf.__version__,
}


class Aesthetics(KerasModel):
    """batch["image"]: (n, 256, 256, 3) uint8 RGB; the scaling to 0..1 is part of the network."""

    file = "weights/aesthetics.keras"

    def postprocess(self, outputs: np.ndarray, batch: Batch) -> Sequence[Answer]:
        return [
            {"score": score, "grade": grade(score), "library": LIBRARY}
            for score in outputs[:, 0].astype(float).tolist()
        ]


def grade(score: float) -> str:
    return next(name for least, name in GRADES if score >= least)
