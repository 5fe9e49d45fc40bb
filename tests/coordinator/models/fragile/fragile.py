"""In the decoder's place: does what option `harm` says, as photos made for it would; where
option `gate` names a pipe, only once that was opened."""

import os
import time

from minion.model import Model


class Fragile(Model):
    def load(self, context):
        self.harm = context.options["harm"]
        self.gate = context.options.get("gate")

    def predict(self, batch):
        if self.gate:
            with open(self.gate, "rb", buffering=0) as gate:
                gate.read(1)
        if self.harm == "hang":
            time.sleep(3600)
        if self.harm == "crash":
            os._exit(3)
        raise RuntimeError("/secret/path: something in a library")

    def warmup(self, batch):
        """No photo, no harm."""
