"""Says its number again; what it does at some numbers, or with more than two, it is named for."""

import os
import time

from minion.model import Model

HARM = {
    1001: lambda: os._exit(3),
    1002: lambda: time.sleep(3600),
    1003: lambda: [].pop(),
    1004: lambda: bytearray(2**62),
}


class Touchy(Model):
    def predict(self, batch):
        if batch.size > 2:
            raise MemoryError("no room for so many")
        for x in batch["x"][:, 0]:
            HARM.get(int(x), int)()
        return [{"x": "text" if x == 1005 else float(x)} for x in batch["x"][:, 0]]
