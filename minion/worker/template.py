"""`python -m minion.worker.template --socket PATH --parent-pid PID MODULE...`: workers by fork.

Imports a framework once and forks a worker whenever a host asks. It runs no
operation of the framework and has one thread, since a fork copies no other: one
that has more, or cannot import the modules, says so and ends for good. Nothing
of any package is ever imported here: what is shared is the environment's.
Started by the supervisor, and ends with it; its workers end with their hosts.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import importlib
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Dict, List, NamedTuple, Optional

from wire.errors import WireError
from wire.forks import (
    DESCRIPTORS,
    MAX_PACKET_BYTES,
    UNFIT_STATUS,
    Ended,
    Fork,
    Forked,
    Message,
    NotForked,
    decode,
    encode,
)
from wire.lifetimes import GradualEnd, adopt_orphans, children, end_with
from wire.marks import leave_mark

_BACKLOG = 128
#: Less than a host waits to be told of an ending.
_PATIENCE_SECONDS = 2.0


class Birth(NamedTuple):
    """A worker to be: what was asked for, and by whom."""

    host: socket.socket
    environment: Dict[str, str]
    descriptors: Dict[str, int]


class _Worker(NamedTuple):
    """One that lives, and whom to tell when it ends."""

    pid: int
    host: socket.socket


def main() -> int:
    arguments = _arguments()
    if not end_with(arguments.parent_pid):
        return 1
    adopt_orphans()
    os.umask(0o077)  # as a host on this machine has it
    # Before the import: whoever asks meanwhile waits in the backlog.
    listener = _listen(arguments.socket)
    unfit = _prepare(arguments.modules)
    if unfit is not None:
        print(
            f"no template for {', '.join(arguments.modules) or 'numpy'}: {unfit}", file=sys.stderr
        )
        return UNFIT_STATUS
    birth = Template(listener).serve()
    # From here on this is the worker's process.
    _become(birth)
    from minion.worker.__main__ import work  # numpy is imported by it: not before we listen

    return work(birth.descriptors["socket"], birth.descriptors["arena"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="minion.worker.template")
    parser.add_argument("--socket", required=True, help="path of the Unix socket to listen on")
    parser.add_argument("--parent-pid", type=int, required=True, help="end when this process does")
    parser.add_argument("modules", nargs="*", help="what to import")
    return parser.parse_args()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    unheard = f"{path}.new"  # whoever finds the path can connect
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unheard)  # of a predecessor that was killed in the midst of this
    listener.bind(unheard)
    listener.listen(_BACKLOG)
    os.replace(unheard, path)
    return listener


def _prepare(modules: List[str]) -> Optional[str]:
    """Imports everything; why no worker may be forked now, or None."""
    if not hasattr(os, "pidfd_open"):
        return "this interpreter cannot watch a process that it has forked"
    try:
        for module in ("minion.worker.__main__", *modules):
            importlib.import_module(module)
    except Exception:
        traceback.print_exc()
        return "an import failed"
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        return f"importing started threads, there are {threads}"
    # A collection would write to every object, and so copy in each worker what all share.
    gc.collect()
    gc.disable()
    gc.freeze()
    return None


class Template:
    """Forks, and tells each host how its worker ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._left: "set[int]" = set()  # orphans that could not be ended

    def serve(self) -> Birth:
        """Does not return in this process, only in those that it forks."""
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.data, _Worker):
                    self._reap(key.fd, key.data)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj is not self._listener:
                    birth = self._asked(key.fileobj)
                    if birth is not None:
                        return birth
                else:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)

    def _asked(self, host: socket.socket) -> Optional[Birth]:
        """Forks; what is to become of it, in the forked process."""
        self._selector.unregister(host)
        request, descriptors = _received(host)
        if not isinstance(request, Fork) or len(descriptors) != len(DESCRIPTORS):
            host.close()  # it has gone again, before we came to it
        elif (reason := _refusal(request)) is not None:
            _tell(host, NotForked(reason))
            host.close()
        else:
            pid = os.fork()
            if pid == 0:
                self._forget()
                return Birth(host, request.environment, dict(zip(DESCRIPTORS, descriptors)))
            # Until it is reaped, the number is nobody else's.
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, _Worker(pid, host))
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _reap(self, watch: int, worker: _Worker) -> None:
        self._selector.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(worker.pid, 0)
        self._end_orphans()
        _tell(worker.host, Ended(os.waitstatus_to_exitcode(status)))
        worker.host.close()

    def _end_orphans(self) -> None:
        """Ends what workers have started and left, and returns when it has ended.

        What cannot be ended (somebody else's, or one that waits for a disk that is gone) is
        waited for once, and then left to the kernel. Whichever worker's it was: what has no
        parent left belongs to nobody.
        """
        ends = time.monotonic() + _PATIENCE_SECONDS
        end = GradualEnd()
        while True:
            orphans = self._orphans()
            self._left &= orphans
            if not orphans - self._left:
                return
            if time.monotonic() > ends:
                end.finish(orphans)
                self._left = orphans
                return
            end.look(orphans)
            time.sleep(GradualEnd.PAUSE_SECONDS)

    def _orphans(self) -> "set[int]":
        """Those that live; the dead are waited for."""
        found = children() - self._pids()
        for pid in tuple(found):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    found.discard(pid)
        return found

    def _pids(self) -> "set[int]":
        """Of the workers that live, or have ended and were not reaped yet."""
        found = self._selector.get_map().values()
        return {key.data.pid for key in found if isinstance(key.data, _Worker)}

    def _forget(self) -> None:
        """Closes, in a fork, what is the template's: other hosts wait for the end of theirs."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Worker):
                os.close(key.fd)
                key.data.host.close()
            elif isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()


def _received(host: socket.socket) -> "tuple[Optional[Message], List[int]]":
    """What a host asks, None for nothing that makes sense, and the descriptors with it."""
    try:
        packet, descriptors, _, _ = socket.recv_fds(host, MAX_PACKET_BYTES, len(DESCRIPTORS))
    except OSError:
        return None, []
    try:
        return decode(packet), descriptors
    except WireError:  # the host has gone again, and that is an empty packet
        return None, descriptors


def _refusal(request: Fork) -> Optional[str]:
    """Why a fork would not be what a process of its own is.

    A package's folder comes first on its path. A module of a name that is taken
    here would be found there by a process of its own, and here by a fork.
    """
    try:
        names = {name.partition(".")[0] for name in os.listdir(request.directory)}
    except OSError:
        return None  # the worker will say it better
    taken = sorted(names & sys.modules.keys())
    return f"the package has a {taken[0]} of its own" if taken else None


def _tell(host: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError):  # it has gone, or does not listen
        host.send(encode(message), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def _become(birth: Birth) -> None:
    """Makes a fork what a worker is that was started by its host."""
    os.setsid()
    _die_with_the_host(birth.descriptors["lifeline"])
    os.dup2(birth.descriptors["stdout"], 1)
    os.dup2(birth.descriptors["stderr"], 2)
    os.environ.update(birth.environment)  # what imports have set stays, as in any process
    leave_mark(birth.environment.get("TMPDIR", ""))
    if "tempfile" in sys.modules:
        import tempfile

        tempfile.tempdir = None  # it looks at the variables once
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # or every fork draws the same; `random` sees to itself
    gc.enable()
    _tell(birth.host, Forked(os.getpid()))
    birth.host.close()


def _die_with_the_host(lifeline: int) -> None:
    """The kernel kills this process group when the host's end of the pipe is closed.

    PR_SET_PDEATHSIG would tie us to the parent, which is the template.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC)
    # In this order: of an end that was closed before, nobody is told. A host that did not want
    # to wait any longer has given our socket to another worker.
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
