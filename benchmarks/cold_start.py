"""Cold start: from exec of a minion to its first right answer over HTTP, per framework.

Packages in environments of their own, their workers started in each of `WAYS`,
in interleaved rounds. Beside it the memory (PSS: shared pages divided among
those who share them) of one worker and of two, the template's included. Two
minutes; `python -m benchmarks.cold_start torch` measures one framework.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.servers import EXAMPLES, machine
from deploy.preloading import preloads
from envs.builder import EnvironmentStore
from envs.spec import resolve
from minion.host.environment import worker_environment
from minion.host.spec import InputSpec, ServiceSpec, write_spec
from model_registry.package import load_manifest

ROUNDS = 3
MODELS = Path(__file__).parent / "models"
PACKAGES = {
    "torch": EXAMPLES / "tagger",
    "keras": EXAMPLES / "aesthetics",
    "tensorflow": EXAMPLES / "caption",
    "scikit-learn": MODELS / "forest",
    "onnxruntime": EXAMPLES / "digits",
    "none": EXAMPLES / "noop",
}
#: How workers are started: without a template; from one that has imported; from one that is
#: started at the same moment as the minion, as for the first minion of an environment.
WAYS = ("plain", "from template", "both at once")
PATIENCE_SECONDS = 60.0


class Subject(NamedTuple):
    name: str
    spec: ServiceSpec
    modules: tuple[str, ...]
    """What its template imports, beside numpy."""
    body: bytes
    """A request: one example of zeros."""


class Start(NamedTuple):
    seconds: float
    answer: Any


def subject(name: str, home: Path) -> Subject:
    package = PACKAGES[name]
    manifest = load_manifest(package)
    wanted = resolve(manifest.environment.python, manifest.requirements_text(package))
    environment = EnvironmentStore(home / "envs").ensure(wanted, progress=lambda line: None)
    inputs = {name: InputSpec(spec.dtype, spec.shape) for name, spec in manifest.inputs.items()}
    spec = ServiceSpec(
        model=manifest.name,
        version=manifest.version,
        replica=f"{manifest.name}-0",
        epoch=1,
        python=str(environment.python),
        directory=str(package),
        entry=manifest.entry,
        inputs=inputs,
        queue_limit=8,
        max_batch_size=manifest.max_batch_size,
        max_queue_delay_seconds=0.0,
    )
    zeros = {
        name: np.zeros([max(size, 1) for size in each.shape], each.dtype).tolist()
        for name, each in inputs.items()
    }
    body = json.dumps({"inputs": zeros}).encode()
    return Subject(name, spec, preloads(package, manifest.entry), body)


@contextlib.contextmanager
def template(subject: Subject, path: Path, *, wait: bool) -> Iterator[int]:
    """A template at `path`; warm when it is handed over, if `wait`. Its process id."""
    command = [subject.spec.python, "-I", "-u", "-m", "minion.worker.template"]
    process = subprocess.Popen(
        [*command, "--socket", str(path), "--parent-pid", str(os.getpid()), *subject.modules],
        env=worker_environment(os.environ, threads=1),
        stderr=subprocess.DEVNULL,
    )
    try:
        if wait:
            _until(lambda: _at_rest(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _at_rest(pid: int) -> bool:
    """Waits for a request: it has imported everything."""
    return "epoll" in Path(f"/proc/{pid}/wchan").read_text()


@contextlib.contextmanager
def minion(subject: Subject, folder: Path, **changes: Any) -> Iterator[Start]:
    """A host and its workers, with what their start took. Everything ends with it."""
    file, socket = folder / "spec.json", folder / "host.sock"
    socket.unlink(missing_ok=True)
    write_spec(msgspec.structs.replace(subject.spec, **changes), file)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "minion.host", "--spec", str(file),
         "--address", f"unix:{socket}", "--parent-pid", str(os.getpid()), "--log-level", "error"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://minion", timeout=30
        ) as client:
            _until(lambda: client.get("/readyz").status_code == 200)
            answer = client.post("/infer", content=subject.body).raise_for_status().json()
            yield Start(time.perf_counter() - started, answer["output"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if look():
                return
        time.sleep(0.003)
    raise TimeoutError("it did not come up")


def workers(folder: Path) -> list[int]:
    transport = httpx.HTTPTransport(uds=str(folder / "host.sock"))
    with httpx.Client(transport=transport, base_url="http://minion") as client:
        told: list[int] = []

        def all_idle() -> bool:
            found = client.get("/status").json()["workers"]
            told[:] = [each["pid"] for each in found]
            return all(each["state"] == "idle" for each in found)

        _until(all_idle)
        return told


def pss_mb(*pids: int) -> float:
    """Memory of these processes, each shared page divided by the number of its users."""
    lines = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids]
    found = [line.split()[1] for each in lines for line in each if line.startswith("Pss:")]
    return sum(map(int, found)) * 1024 / 1e6


@contextlib.contextmanager
def started(subject: Subject, folder: Path, way: str) -> Iterator[Start]:
    """One minion, started in one of `WAYS`."""
    path = folder / "template.sock"
    with contextlib.ExitStack() as stack:
        changes = {}
        if way != "plain":
            changes["template"] = str(path)
            stack.enter_context(template(subject, path, wait=way == "from template"))
        yield stack.enter_context(minion(subject, folder, **changes))


def starts(subject: Subject, folder: Path) -> list[float]:
    """Seconds to the first right answer, medians, in the order of `WAYS`."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    answers = set()
    for _ in range(ROUNDS):
        for way in WAYS:
            with started(subject, folder, way) as start:
                found[way].append(start.seconds)
                answers.add(json.dumps(start.answer))
    if len(answers) != 1:
        raise SystemExit(f"{subject.name} answers now this, now that: {answers}")
    return [statistics.median(seconds) for seconds in found.values()]


def memory(subject: Subject, folder: Path) -> list[float]:
    """PSS in MB: one plain worker, two; template and one worker, and two."""
    found = []
    for count in (1, 2):
        with minion(subject, folder, workers=count):
            found.append(pss_mb(*workers(folder)))
    path = folder / "template.sock"
    with template(subject, path, wait=True) as pid:
        for count in (1, 2):
            with minion(subject, folder, workers=count, template=str(path)):
                found.append(pss_mb(pid, *workers(folder)))
    return found


def main() -> None:
    times = Table(title=f"Seconds from exec to the first right answer. {machine()}")
    for heading in ("framework", "template imports", *WAYS):
        times.add_column(heading)
    sizes = Table(title="PSS in MB, template included")
    for heading in ("framework", "1 plain", "2 plain", "1 from template", "2 from template"):
        sizes.add_column(heading)
    with tempfile.TemporaryDirectory(prefix="demitasse-bench-") as name:
        folder = Path(name)
        for framework in sys.argv[1:] or PACKAGES:
            each = subject(framework, folder)
            seconds = [f"{value:.2f}" for value in starts(each, folder)]
            times.add_row(framework, " ".join(each.modules), *seconds)
            sizes.add_row(framework, *(f"{value:.0f}" for value in memory(each, folder)))
    console = Console(width=110)
    console.print(times)
    console.print(sizes)


if __name__ == "__main__":
    main()
