"""One of the roster at work on an item, from exec to the first right answer."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.environments import interpreter
from benchmarks.peers.items import Item
from benchmarks.peers.package import packages
from benchmarks.peers.roster import PEERS, requirements
from benchmarks.peers.task import PICTURES, Lent, Task
from benchmarks.processes import Tree, free_port
from benchmarks.requests import Request
from benchmarks.servers import ROOT, START_SECONDS, CannotStart, published, running

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Contestant:
    """A server that has given the right answer."""

    name: str
    url: str
    request: Request
    tree: Tree
    start_seconds: float
    """From exec to that answer."""


@contextlib.contextmanager
def serving(name: str, item: Item, workers: int, lent: Lent) -> Iterator[Contestant]:
    """One of `PEERS`, under the name `NAME+LENT`.

    Raises:
        CannotStart: with the reason.
    """
    peer = PEERS[name]
    for program in peer.programs:
        if shutil.which(program) is None:
            raise CannotStart(f"{program} is not installed")
    task = item.task(free_port(), workers, lent)
    with tempfile.TemporaryDirectory(prefix="peer-") as told:
        command = _command(name, task, Path(told))
        variables = {
            **task.variables(), **ONE_THREAD, **peer.variables(task.port, told),
            "PYTHONPATH": str(ROOT), "HOME": told,
            "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        with running(command, task.port, Path(told), variables) as server:
            request = peer.request(item)
            with httpx.Client(timeout=START_SECONDS) as client:
                seconds = server.wait(lambda: _answers(client, server.url, request, item))
            yield Contestant(label(name, lent), server.url, request, server.tree, seconds)


def label(name: str, lent: Lent) -> str:
    return f"{name}+{lent}"


def _command(name: str, task: Task, folder: Path) -> list[str]:
    if name == "demitasse":
        return published(packages(task, folder), folder, task.port)
    return [str(interpreter(requirements(name))), "-m", f"benchmarks.peers.{name}.server"]


def _answers(client: httpx.Client, url: str, request: Request, item: Item) -> bool:
    answer = client.post(url + request.path, content=request.body, headers=request.headers)
    return answer.status_code == 200 and is_right(answer.text, item)


def is_right(answer: str, item: Item) -> bool:
    """Whether an answer is one to this item, in whatever protocol it is wrapped."""
    if item.work in PICTURES:
        return len(re.findall(r"class\W+\d+", answer)) == 5 * item.networks
    return re.search(r"n\W+\d+", answer) is not None
