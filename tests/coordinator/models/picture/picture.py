"""A photo's mean colour. With option `fails`, nothing but an exception; where `gate` names a
pipe, only once that was opened; where `dies_twice` names a file, it does before it answers."""

import os
from pathlib import Path

from minion.model import Model


class Picture(Model):
    def load(self, context):
        self.options = context.options

    def predict(self, batch):
        if self.options.get("fails"):
            raise RuntimeError("it always does")
        if "gate" in self.options:
            with open(self.options["gate"], "rb", buffering=0) as gate:
                gate.read(1)
        if "dies_twice" in self.options:
            with Path(self.options["dies_twice"]).open("a") as deaths:
                if deaths.tell() < 2:
                    deaths.write("x")
                    deaths.flush()
                    os._exit(3)
        return [{"colour": image.mean((0, 1)).round().tolist()} for image in batch["image"]]

    def warmup(self, batch):
        """Zeros are as good as any."""
