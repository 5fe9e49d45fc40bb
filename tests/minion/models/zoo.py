"""Models that behave, and models that do not. Input `x`: float32 (1,) an example.

Run by the interpreters of the tests, the oldest among them.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from minion.model import InvalidInput, Model

#: An example of this value gets the treatment that the class is named for.
POISON = 13.0


def said(batch):
    """What a well-behaved model answers."""
    return [
        {
            "x": float(x),
            "batch_size": batch.size,
            "pid": os.getpid(),
            "parameters": batch.parameters[index],
        }
        for index, x in enumerate(batch["x"][:, 0])
    ]


def poisoned(batch):
    return [index for index, x in enumerate(batch["x"][:, 0]) if x == POISON]


class Echo(Model):
    def predict(self, batch):
        return said(batch)


class Surrounded(Model):
    """Answers with what it was told while it loaded."""

    def load(self, context):
        self.told = {
            "device": context.device,
            "precision": context.torch.precision,
            "compile": context.torch.compile,
        }

    def predict(self, batch):
        return [self.told] * batch.size


class Gated(Model):
    """Every batch waits for one byte in the FIFO that the option `gate` names."""

    def load(self, context):
        self.gate = os.open(context.options["gate"], os.O_RDWR)

    def warmup(self, batch):
        pass

    def predict(self, batch):
        os.read(self.gate, 1)
        return said(batch)


class Crashes(Model):
    def predict(self, batch):
        if poisoned(batch):
            os._exit(3)
        return said(batch)


class Dies(Model):
    """Of a poisoned example, in the way that the option `of` names."""

    def load(self, context):
        self.die = {
            "abort": os.abort,
            "exit": lambda: os._exit(3),
            "segmentation fault": lambda: ctypes.string_at(0),
            "closed descriptors": self.close_and_stay,
        }[context.options["of"]]

    @staticmethod
    def close_and_stay():
        os.closerange(3, 256)
        time.sleep(3600)

    def predict(self, batch):
        if poisoned(batch):
            self.die()
        return said(batch)


class DiesAbove(Model):
    """Of every example above 100: as many culprits as one likes."""

    def predict(self, batch):
        if (batch["x"] > 100).any():
            os._exit(3)
        return said(batch)


class Stuck(Model):
    """On a poisoned example, in the way that the option `in` names."""

    def load(self, context):
        self.wait = {
            "python": lambda: time.sleep(3600),
            "C with the interpreter's lock": lambda: ctypes.PyDLL(None).sleep(3600),
            "a regular expression": lambda: re.match(r"(a+)+$", "a" * 64 + "b"),
            "a stop of its own": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        }[context.options["in"]]

    def predict(self, batch):
        if poisoned(batch):
            self.wait()
        return said(batch)


class CrashesOnce(Model):
    """Dies of its first batch; its successor finds the mark and does not."""

    def load(self, context):
        self.mark = Path(context.options["mark"])

    def predict(self, batch):
        if batch["x"].any() and not self.mark.exists():
            self.mark.touch()
            os._exit(3)
        return said(batch)


class Raises(Model):
    def predict(self, batch):
        if poisoned(batch):
            raise RuntimeError("a bug of the author's")
        return said(batch)


class Quits(Model):
    def predict(self, batch):
        if poisoned(batch):
            sys.exit("no more of this")
        return said(batch)


class QuitsWhileLoading(Model):
    def load(self, context):
        sys.exit("no weights")

    def predict(self, batch):
        raise NotImplementedError


class Refuses(Model):
    """Raises for the first poisoned example, as authors do who look at one at a time.

    With option `word` that is what it says.
    """

    def load(self, context):
        self.word = context.options.get("word", "unlucky")

    def predict(self, batch):
        for index in poisoned(batch):
            raise InvalidInput(index, "unlucky number", code=self.word)
        return said(batch)


class RunsOut(Model):
    """Of memory, in batches above the option `room`, and by a poisoned example alone.

    With option `others` so many batches run out at first whatever they are, as on a GPU of which
    somebody else holds the memory for a while.
    """

    def load(self, context):
        self.room = context.options.get("room", 2**31)
        self.others = context.options.get("others", 0)

    def warmup(self, batch):
        pass

    def predict(self, batch):
        self.others -= 1
        if poisoned(batch) or batch.size > self.room or self.others >= 0:
            raise MemoryError(f"no room for {batch.size}")
        return said(batch)


class SaysNan(Model):
    def predict(self, batch):
        return [
            {"x": float("nan") if answer["x"] == POISON else answer["x"]} for answer in said(batch)
        ]


class TurnsToText(Model):
    """Where a poisoned example asks for a number."""

    def predict(self, batch):
        return [
            {"x": "thirteen" if answer["x"] == POISON else answer["x"]} for answer in said(batch)
        ]


class Miscounts(Model):
    def predict(self, batch):
        return said(batch)[: 0 if poisoned(batch) else None]


class Hangs(Model):
    def predict(self, batch):
        if poisoned(batch):
            time.sleep(3600)
        return said(batch)


class Sleeps(Model):
    """Every batch takes the seconds that the option says."""

    def load(self, context):
        self.seconds = context.options["seconds"]

    def warmup(self, batch):
        pass

    def predict(self, batch):
        time.sleep(self.seconds)
        return said(batch)


class Prints(Model):
    def load(self, context):
        print("loading", file=sys.stderr)

    def predict(self, batch):
        print("DM\x01\x02" * 10_000)
        os.write(1, b"DM" * 10_000)
        return said(batch)


class PrintsMuch(Model):
    """Prints so many megabytes of an example's value, in lines of the option's length."""

    def load(self, context):
        self.line = b"x" * (context.options["line"] - 1) + b"\n"

    def predict(self, batch):
        began = time.monotonic()
        megabytes = int(batch["x"][0, 0])
        for _ in range(megabytes):
            left = memoryview(self.line * (2**20 // len(self.line)))
            while left:
                left = left[os.write(1, left) :]
        print("the end")
        return [{"seconds": time.monotonic() - began}] * batch.size


class ClosesItsDescriptors(Model):
    """Of a poisoned example: all it has, and stays."""

    def predict(self, batch):
        if poisoned(batch):
            os.closerange(0, 256)
            time.sleep(3600)
        return said(batch)


class Litters(Model):
    """Leaves a file in its folder while it loads, and fills that for a poisoned example."""

    def load(self, context):
        Path(tempfile.gettempdir(), "left").touch()

    def predict(self, batch):
        while poisoned(batch):
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(bytes(2**20))
            time.sleep(0.005)
        return said(batch)


class Arrays(Model):
    """Arrays in and arrays out, one of them too large for the shared memory."""

    def load(self, context):
        self.length = context.options.get("length", 3)

    def warmup(self, batch):
        pass

    def predict(self, batch):
        return [
            {
                "doubled": batch["x"][index] * 2,
                "ramp": np.arange(self.length, dtype=np.uint8),
                "empty": np.zeros((0, 4), np.int64),
            }
            for index in range(batch.size)
        ]


class Parent(Model):
    """Leaves a process of its own behind when it dies of a poisoned example."""

    def load(self, context):
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])

    def predict(self, batch):
        if poisoned(batch):
            os._exit(3)
        return [{"child": self.child.pid} for _ in range(batch.size)]


class WillNotLoad(Model):
    def load(self, context):
        raise FileNotFoundError("no weights\nand more that nobody wants in a table")


class LoadsOnce(Model):
    """Its successors do not load."""

    def load(self, context):
        mark = Path(context.options["mark"])
        if mark.exists():
            raise RuntimeError("the weights are gone")
        mark.touch()

    def predict(self, batch):
        if poisoned(batch):
            os._exit(3)
        return said(batch)


class LoadsForEver(Model):
    def load(self, context):
        time.sleep(3600)


class LoadsWhileMarked(Model):
    """Dies before it can say why, unless it finds the file that the option names."""

    def load(self, context):
        if not Path(context.options["mark"]).exists():
            os._exit(3)

    def predict(self, batch):
        return said(batch)


class NotAModel:
    pass


class Scratch(Model):
    """Answers with the page faults that a scratch memory of 64 MiB cost the batch."""

    def predict(self, batch):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(64 * 2**20)
        return [{"x": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}]


class Surroundings(Model):
    """Says what its process is like."""

    def predict(self, batch):
        told = {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "group": os.getpgid(0),
            "session": os.getsid(0),
            "environment": dict(os.environ),
            "temporary": tempfile.gettempdir(),
            "draws": float(np.random.random()),
            "threads": len(os.listdir("/proc/self/task")),
        }
        return [told for _ in range(batch.size)]


class GatedLoad(Model):
    """Loading waits for one byte in the FIFO that the option `gate` names."""

    def load(self, context):
        with open(context.options["gate"], "r+b", buffering=0) as gate:
            gate.read(1)

    def predict(self, batch):
        return said(batch)
