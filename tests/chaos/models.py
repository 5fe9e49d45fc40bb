"""The models that chaos strikes: their answers are known, and some inputs are deadly."""

from __future__ import annotations

from pathlib import Path

from tests.packages import COLOUR, variant, written

SUM = '''
import os
import time

from minion.model import Model

class Sum(Model):
    """A negative number kills the process, as a bug in C would."""

    def load(self, context):
        self.seconds = context.options["seconds"]

    def predict(self, batch):
        if (batch["x"] < 0).any():
            os.abort()
        time.sleep(self.seconds)
        return [{"sum": float(x.sum())} for x in batch["x"]]
'''

MANIFEST = """
name = "sum"
version = "1.0.0"
entry = "sum:Sum"
[input.x]
dtype = "float64"
shape = [4]
[output.sum]
type = "number"
"""
SERVED = """
[batching]
max_batch_size = 8
max_queue_delay = "2ms"
[admission]
queue_limit = 64
[resources]
workers = 2
predict_timeout = "2s"
load_timeout = "10s"
[options]
seconds = 0.005
"""


def packages(folder: Path) -> list[Path]:
    """`colour`, which looks at photos, and `sum`, which takes numbers."""
    return [
        variant(COLOUR, folder, more=SERVED),
        written(folder, "sum", MANIFEST + SERVED, SUM),
    ]
