"""Reads a handwritten digit: a small network exported to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minion.frameworks.onnx import OnnxModel
from minion.model import Answer, Batch, InvalidInput

DARKEST = 16.0  # the scanner's grey levels run from 0 (paper) to 16 (ink)


class Digits(OnnxModel):
    file = "weights/digits.onnx"

    def predict(self, batch: Batch) -> Sequence[Answer | InvalidInput]:
        """batch["pixels"]: (n, 8, 8) float32, 0 for paper to 16 for ink."""
        good = [index for index in range(batch.size) if in_range(batch["pixels"][index])]
        answers: list[Answer | InvalidInput] = [
            InvalidInput(index, "pixels are numbers from 0 (paper) to 16 (ink)")
            for index in range(batch.size)
        ]
        if good:
            for index, answer in zip(good, super().predict(batch.select(good)), strict=True):
                answers[index] = answer
        return answers

    def postprocess(self, outputs: Mapping[str, np.ndarray], batch: Batch) -> Sequence[Answer]:
        return [
            {"digit": int(row.argmax()), "probabilities": [float(p) for p in row]}
            for row in outputs["probabilities"]
        ]


def in_range(pixels: np.ndarray) -> bool:
    return bool(np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= DARKEST)
