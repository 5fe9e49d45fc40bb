from __future__ import annotations

import subprocess
import sys

from tests.soak.held import held

#: A process with a piece of shared memory and one thread more, and a child; until stdin ends.
FAMILY = """
import os, threading
if os.fork() == 0:
    os.read(0, 1)
    os._exit(0)
memory = os.memfd_create("held")
threading.Thread(target=os.read, args=(0, 1)).start()
print("there", flush=True)
os.read(0, 1)
"""


def test_what_a_process_and_its_child_hold_is_seen() -> None:
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        found = held(process.pid)

    first = found.pop(process.pid)
    [child] = found.values()
    assert (child.threads, child.shared, child.descriptors) == (1, 0, 3)
    assert (first.threads, first.shared, first.descriptors) == (2, 1, 4)
    assert min(first.memory_bytes, child.memory_bytes) > 2**20
