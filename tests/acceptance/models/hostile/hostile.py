"""A model that does to its machine what the parameter `do` says. Hears no SIGTERM.

Run by the interpreters of the tests, the oldest among them.
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
from pathlib import Path

from minion.model import Model

MEGABYTE = 2**20


class Hostile(Model):
    def load(self, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.held = []

    def predict(self, batch):
        return [{"told": self.act(**parameters)} for parameters in batch.parameters]

    def act(self, do="nothing", amount=0):
        return getattr(self, do)(amount)

    def nothing(self, amount):
        return [os.getpid()]

    def crash(self, amount):
        os._exit(3)

    def print(self, amount):
        for _ in range(amount):
            left = memoryview(b"\x1b[2J all work and no play\n" * (MEGABYTE // 25))
            while left:
                left = left[os.write(1, left) :]
        return [os.getpid()]

    def fork(self, amount):
        """Three that stay: one of our group, one of a session of its own, and a daemon."""
        return [self._forked(), self._forked(leave=True), self._forked(leave=True, again=True)]

    def _forked(self, leave=False, again=False):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            if leave:
                os.setsid()
            if again and os.fork():
                os._exit(0)
            os.write(theirs, str(os.getpid()).encode())
            os.close(theirs)
            while True:
                time.sleep(3600)
        if again:
            os.waitpid(child, 0)
        pid = int(os.read(ours, 20))
        os.close(ours)
        os.close(theirs)
        return pid

    def fill(self, amount):
        """The temporary folder, without end."""
        for number in range(10**9):
            Path(tempfile.gettempdir(), str(number)).write_bytes(bytes(MEGABYTE))
            time.sleep(0.005)  # the disk of whoever runs the tests has an end

    def one_file(self, amount):
        """How many megabytes fit into one file."""
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            for megabytes in range(amount):
                try:
                    file.write(bytes(MEGABYTE))
                except OSError:
                    return [megabytes]
        return [amount]

    def close(self, amount):
        os.closerange(0, 256)
        time.sleep(3600)

    def hold(self, amount):
        """So many megabytes, for good; how many there were."""
        for megabytes in range(amount):
            try:
                self.held.append(bytearray(b"x") * MEGABYTE)
            except MemoryError:
                return [megabytes]
        return [amount]

    def limits(self, amount):
        numbers = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
        numbers += (resource.RLIMIT_FSIZE, resource.RLIMIT_DATA)
        return [value for number in numbers for value in resource.getrlimit(number)]

    def scratch(self, amount):
        """Leaves a folder that nobody may open in the temporary one; says where that is."""
        closed = Path(tempfile.gettempdir(), "closed")
        closed.mkdir()
        (closed / "file").write_text("something")
        closed.chmod(0)
        return [ord(letter) for letter in tempfile.gettempdir()]
