"""What the road costs: a no-op model behind coordinator, host and worker, beside bare aiohttp.

Measures CPU-seconds per 1,000 requests over all serving processes (the sturdy
figure), requests per second, p50 and p99, with a 64-byte JSON body and with a
raw tensor of 150,528 bytes. Rounds are interleaved, medians are shown.
"""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.load import load
from benchmarks.servers import EXAMPLES, Server, demitasse, floor, machine

ROUNDS = 3
SECONDS = 1.5
WARMUP_SECONDS = 1.0
JSON_BODY = b'{"inputs":{"x":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0,1.11]}}'
TENSOR_BODY = bytes(150_528)
#: The bound of the first milestone, at 64 connections with the JSON body.
CPU_BOUND = 0.15


class Case(NamedTuple):
    name: str
    body: bytes
    content_type: str
    connections: int


CASES = [
    Case("64 B JSON", JSON_BODY, "application/json", 1),
    Case("64 B JSON", JSON_BODY, "application/json", 16),
    Case("64 B JSON", JSON_BODY, "application/json", 64),
    Case("150 KB tensor", TENSOR_BODY, "application/octet-stream", 1),
    Case("150 KB tensor", TENSOR_BODY, "application/octet-stream", 64),
]


def measure(server: Server, path: str, case: Case, seconds: float = SECONDS) -> dict[str, Any]:
    before = server.cpu_seconds()
    told = load(
        server.url + path,
        case.body,
        case.content_type,
        connections=case.connections,
        seconds=seconds,
    )
    if told["failed"]:
        raise SystemExit(f"{told['failed']} of {told['requests']} requests failed")
    spent = server.cpu_seconds() - before
    return {
        "cpu": spent / told["requests"] * 1000,
        "rate": told["requests"] / told["seconds"],
        "p50": told["p50_ms"],
        "p99": told["p99_ms"],
    }


def medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def main() -> None:
    table = Table(title=f"The road of a no-op model. {machine()}")
    for heading in ("body", "connections", "server", "CPU s / 1,000", "requests / s", "p50 ms"):
        table.add_column(heading)
    table.add_column("p99 ms")
    table.add_column("CPU, of the floor")
    bound = 0.0
    with demitasse([EXAMPLES / "noop"], count=["noop"]) as ours, floor() as bare:
        roads = {"demitasse": (ours, "/models/noop/infer"), "bare aiohttp": (bare, "/")}
        for case in CASES:
            for server, path in roads.values():
                measure(server, path, case, WARMUP_SECONDS)
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in roads}
            for _ in range(ROUNDS):
                for name, (server, path) in roads.items():
                    rounds[name].append(measure(server, path, case))
            found = {name: medians(each) for name, each in rounds.items()}
            for name, each in found.items():
                ratio = each["cpu"] / found["bare aiohttp"]["cpu"]
                table.add_row(
                    case.name, str(case.connections), name, f"{each['cpu']:.3f}",
                    f"{each['rate']:,.0f}", f"{each['p50']:.2f}", f"{each['p99']:.2f}",
                    f"{ratio:.1f} x",
                )  # fmt: skip
            if case == CASES[2]:
                bound = found["demitasse"]["cpu"]
    Console(width=120).print(table)
    verdict = "within" if bound <= CPU_BOUND else "ABOVE"
    print(f"64 B JSON, 64 connections: {bound:.3f} CPU-s per 1,000, {verdict} {CPU_BOUND}")


if __name__ == "__main__":
    main()
