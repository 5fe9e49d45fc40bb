"""In the decoder's place: does what option `harm` says, as photos made for it would."""

import os
import time

from minion.model import Model


class Fragile(Model):
    def load(self, context):
        self.harm = context.options["harm"]

    def predict(self, batch):
        if self.harm == "hang":
            time.sleep(3600)
        if self.harm == "crash":
            os._exit(3)
        raise RuntimeError("/secret/path: something in a library")

    def warmup(self, batch):
        """No photo, no harm."""
