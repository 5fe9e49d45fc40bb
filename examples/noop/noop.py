"""A model that does nothing, for measuring everything around it."""

from __future__ import annotations

from typing import Any

from minion.model import Batch, Model


class Noop(Model):
    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        """batch["x"]: (n, length) float32."""
        length = batch["x"].shape[1]
        return [{"n": length} for _ in range(batch.size)]
