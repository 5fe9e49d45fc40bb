"""Says each number again; those from the option `from` on end it, in the way that `of` names."""

import ctypes
import os
import time

from minion.model import Model


def error():
    raise RuntimeError("a culprit")


WAYS = {
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "segmentation fault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "hang in C": lambda: ctypes.PyDLL(None).sleep(3600),
    "raise": error,
}


class Poisoned(Model):
    def load(self, context):
        self.harm = WAYS[context.options["of"]]
        self.threshold = context.options["from"]

    def predict(self, batch):
        if (batch["x"] >= self.threshold).any():
            self.harm()
        return [{"x": float(x)} for x in batch["x"][:, 0]]
