"""`python -m minion.worker --socket FD --arena FD`: one worker process.

Blocking and single-threaded on purpose: the model owns this process. The host
started it, and end-of-file from the host ends it. `template.py` forks the same
process, and begins with `work`.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Union

from minion.model import LoadContext
from minion.worker.incoming import messages
from minion.worker.loader import LoadError, find_model
from minion.worker.session import Session, zeros
from wire.area import Area, halves, slots
from wire.batches import BatchFailure, Load, Loaded, Message, Run
from wire.errors import Code
from wire.heap import give_back_free_pages
from wire.lifetimes import end_with_parent

_MAX_DETAIL_CHARACTERS = 300


def main() -> int:
    arguments = _arguments()
    # Not even one that is busy and never reads its socket survives its host. One that died
    # before this line is met as end-of-file; in a container it may well be process 1.
    end_with_parent()
    return work(arguments.socket, arguments.arena)


def work(socket_descriptor: int, arena: int) -> int:
    """A worker's life, from the first message to the host's end-of-file; its exit status."""
    connection = socket.socket(fileno=socket_descriptor)
    incoming = messages(connection)
    load = next(incoming, None)
    if not isinstance(load, Load):
        return 1
    session = _load(load, arena, connection)
    if session is None:
        return 1
    for message in incoming:
        if isinstance(message, Run):
            _send(connection, session.run(message))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minion.worker")
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the socket pair")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the shared memory")
    return parser.parse_args()


def _load(load: Load, arena: int, connection: socket.socket) -> Union[Session, None]:
    """Loads and warms up; tells the host how that went."""
    started = time.perf_counter()
    try:
        model = find_model(Path(load.directory), load.entry)()
        model.load(
            LoadContext(
                *(Path(load.directory), load.device, load.threads, load.max_batch_size),
                *(load.options, load.torch),
            )
        )
        # From now on a worker keeps its pages; see `host.environment`. A state dict that was
        # copied into its network would otherwise count twice for ever.
        give_back_free_pages()
        loaded = time.perf_counter()
        model.warmup(zeros(load.inputs))
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        _send(connection, BatchFailure(0, Code.NOT_READY.value, _in_a_line(error)))
        return None
    # What was allocated while loading stays: no later collection needs to walk it.
    gc.collect()
    gc.freeze()
    incoming, outgoing = halves(memoryview(mmap.mmap(arena, load.arena_bytes)))
    warm = time.perf_counter()
    _send(connection, Loaded(os.getpid(), loaded - started, warm - loaded))
    return Session(model, incoming=Area(incoming), outgoing=slots(outgoing), outputs=load.outputs)


def _in_a_line(error: BaseException) -> str:
    """For the operator's table; the traceback is in the log."""
    text = str(error) if isinstance(error, LoadError) else f"{type(error).__name__}: {error}"
    line = text.strip().partition("\n")[0][:_MAX_DETAIL_CHARACTERS]
    return line.encode("utf-8", "replace").decode()


def _send(connection: socket.socket, message: Message) -> None:
    for buffer in message.encode():
        connection.sendall(buffer)


if __name__ == "__main__":
    sys.exit(main())
