"""A device made of arithmetic: a batch of n examples occupies it for 0.2 s + 0.3 s * n.

The two figures are the published ones: 500 ms for one photo, 800 ms for two in
one batch. A worker process has one such device, and a device does one batch at
a time. `scale` among the options of model.toml shortens or stretches every batch;
`scale_file` names a file with a number that does so too, from the next batch on.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from minion.model import Batch, LoadContext, Model

SECONDS_PER_BATCH = 0.2
SECONDS_PER_EXAMPLE = 0.3


class Simulated(Model):
    device = threading.Lock()

    def load(self, context: LoadContext) -> None:
        scale = context.options.get("scale", 1.0)
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale >= 0:
            raise ValueError(f"option scale is {scale!r}, expected a number from 0 up")
        self.scale = float(scale)
        self.scale_file = context.options.get("scale_file")

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        """batch["x"]: (n, 1) float32, returned as it came."""
        seconds = (
            self.scale
            * self.present_scale()
            * (SECONDS_PER_BATCH + SECONDS_PER_EXAMPLE * batch.size)
        )
        with self.device:
            time.sleep(seconds)
        return [
            {"seconds": seconds, "batch_size": batch.size, "x": float(x), "pid": os.getpid()}
            for x in batch["x"][:, 0]
        ]

    def present_scale(self) -> float:
        """What the file says now; 1 where there is none."""
        try:
            with open(self.scale_file or "") as file:
                return float(file.read())
        except FileNotFoundError:
            return 1.0

    def warmup(self, batch: Batch) -> None:
        """Nothing gets faster by sleeping first."""
