"""`python -m tests.bombs [--json] [WORDS]`: those whose name has the words, as `measure` says."""

from __future__ import annotations

import argparse

import msgspec

from tests.bombs.catalogue import bombs
from tests.bombs.measure import measure


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bombs")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = " ".join(arguments.words)
    for name, bomb in bombs().items():
        if wanted not in name:
            continue
        data = bomb.make()
        cost = measure(data)
        if arguments.json:
            print(msgspec.json.encode([name, len(data), cost]).decode(), flush=True)
        else:
            print(
                f"{name:44} {len(data) / 1024:6.0f} KiB {cost.outcome:18}"
                f" {cost.cpu_seconds:5.2f} s {cost.memory_bytes / 1e6:5.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
