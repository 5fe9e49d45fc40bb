"""Run under a model's own interpreter: loads a package as a worker does, answers one batch.

serve_once.py PACKAGE ENTRY ARRAYS.npz TORCH prints the answers as JSON.
An `InvalidInput` in an answer's place is printed as {"invalid": reason}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from minion.model import Batch, InvalidInput, LoadContext
from minion.worker.loader import find_model
from wire.torch_options import TorchOptions


def plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else repr(value)


def main(package: Path, entry: str, arrays: str, torch: str) -> None:
    inputs = dict(np.load(arrays))
    size = len(next(iter(inputs.values())))
    for array in inputs.values():
        array.flags.writeable = False  # as a worker's view of shared memory may be
    model = find_model(package, entry)()
    model.load(LoadContext(package, "cpu", 1, 8, {}, TorchOptions(**json.loads(torch))))
    model.warmup(Batch({name: np.zeros_like(a[:1]) for name, a in inputs.items()}, [{}]))
    answers = [
        {"invalid": answer.reason} if isinstance(answer, InvalidInput) else answer
        for answer in model.predict(Batch(inputs, [{}] * size))
    ]
    print(json.dumps(answers, default=plain))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
