"""Nothing is computed for nobody: a hundred wait, ninety of them hang up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.acceptance.platform import eventually, running
from tests.packages import written

WAITING, LEAVING = 100, 90

MODEL = """
import time
from pathlib import Path

from minion.model import Model

class Gated(Model):
    def load(self, context):
        folder = Path(context.options["folder"])
        self.gate, self.journal = folder / "gate", folder / "journal"

    def predict(self, batch):
        with self.journal.open("a") as journal:
            journal.writelines(f"{x:.0f}\\n" for x in batch["x"][:, 0])
        while not self.gate.exists():
            time.sleep(0.005)
        return [{"x": float(x)} for x in batch["x"][:, 0]]

    def warmup(self, batch):
        pass
"""


def manifest(folder: Path) -> str:
    return f"""
name = "gated"
version = "1.0.0"
entry = "gated:Gated"
[input.x]
dtype = "float32"
shape = [1]
[output.x]
type = "number"
[batching]
max_batch_size = 8
max_queue_delay = "0ms"
[admission]
queue_limit = {WAITING}
[options]
folder = "{folder}"
"""


async def test_of_a_hundred_who_wait_only_those_are_computed_who_stay(tmp_path: Path) -> None:
    package = written(tmp_path, "gated", manifest(tmp_path), MODEL)
    journal = tmp_path / "journal"

    def executed() -> list[int]:
        return [int(line) for line in journal.read_text().split()] if journal.exists() else []

    async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
        return await client.post("/models/gated/infer", json={"inputs": {"x": [number]}})

    with running(tmp_path / "home", [package]) as platform:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=platform.url, timeout=60, limits=limits) as client:
            asking = {n: asyncio.create_task(ask(client, n)) for n in range(WAITING)}

            async def occupied(count: int, what: str) -> None:
                await asyncio.to_thread(
                    eventually, lambda: platform.occupied("gated") == count, within=30, what=what
                )

            await occupied(WAITING, "a hundred inside")
            await asyncio.to_thread(eventually, executed, within=30, what="the first batch")
            running_then = set(executed())
            leaving = [n for n in asking if n not in running_then][:LEAVING]
            for number in leaving:
                asking.pop(number).cancel()
            await occupied(WAITING - len(leaving), "ninety gone")
            (tmp_path / "gate").touch()
            answers = await asyncio.gather(*asking.values())

    assert len(leaving) == LEAVING
    assert [answer.status_code for answer in answers] == [200] * (WAITING - LEAVING)
    assert sorted(executed()) == sorted(asking)
