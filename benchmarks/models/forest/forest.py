"""A random forest, for measuring what scikit-learn takes to start."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from minion.model import Batch, LoadContext, Model


class Forest(Model):
    def load(self, context: LoadContext) -> None:
        examples = np.random.default_rng(0).random((64, 16))
        labels = examples.sum(axis=1) > 8
        self.forest = RandomForestClassifier(10, random_state=0).fit(examples, labels)

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        """batch["x"]: (n, 16) float32."""
        return [{"label": int(label)} for label in self.forest.predict(batch["x"])]
