"""Models whose speed is arithmetic: a batch of n takes `fixed + each * n` seconds.

Run by workers; options `fixed` and `each`, in seconds.
"""

from __future__ import annotations

import time
from typing import Any

from minion.model import Batch, LoadContext, Model


class Device(Model):
    """Sleeps: a device beside the processor, such as a GPU. With zeros, a no-op."""

    def load(self, context: LoadContext) -> None:
        self.fixed, self.each = context.options["fixed"], context.options["each"]

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        self.spend(self.fixed + self.each * batch.size)
        return [{"n": batch.size}] * batch.size

    def spend(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds)


class Core(Device):
    """Computes on one core: what it takes is its own CPU time, however busy the machine is."""

    def spend(self, seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
