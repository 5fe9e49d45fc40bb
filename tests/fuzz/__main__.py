"""`make fuzz`: as many cases as FUZZ_CASES says, from FUZZ_SEED; FUZZ_FIRST begins later."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import uvloop

from tests.fuzz.attack import attack, good_changes, good_ones
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
            port, admin_port = coordinator.port, coordinator.admin.base_url.port or 0
            findings, seen = await attack(port, cases, numbers, partial(good_ones, port))
            changes = Cases(cases.seed, admin=True)
            right = partial(good_changes, port, admin_port)
            more, told = await attack(admin_port, changes, numbers, right)
            findings += more
            seen += Counter({f"{answer} (admin)": count for answer, count in told.items()})
    for answer, count in sorted(seen.items()):
        print(f"{count:8} {answer}")
    print(
        f"{len(numbers)} cases for either port in {time.monotonic() - started:.0f} s, "
        f"{len(findings)} findings"
    )
    for finding in findings[:_SHOWN]:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
