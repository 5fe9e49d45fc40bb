"""`make fuzz`: as many cases as FUZZ_CASES says, from FUZZ_SEED; FUZZ_FIRST begins later."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.fuzz.attack import attack
from tests.fuzz.cases import Cases
from tests.fuzz.platform import platform

_SHOWN = 20


def main() -> int:
    seed = os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    first = int(os.environ.get("FUZZ_FIRST", "0"))
    count = int(os.environ.get("FUZZ_CASES", "20000"))
    print(f"FUZZ_SEED={seed} FUZZ_FIRST={first} FUZZ_CASES={count}", flush=True)
    return uvloop.run(_run(Cases(seed), range(first, first + count)))


async def _run(cases: Cases, numbers: range) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        async with platform(Path(home)) as coordinator:
            findings, seen = await attack(coordinator.port, cases, numbers)
    for answer, count in sorted(seen.items()):
        print(f"{count:8} {answer}")
    print(f"{len(numbers)} cases in {time.monotonic() - started:.0f} s, {len(findings)} findings")
    for finding in findings[:_SHOWN]:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
