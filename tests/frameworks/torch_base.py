"""Run under the tagger's interpreter: what the torch base does, printed as JSON.

torch_base.py PACKAGE CHECK. What is asserted of it stands in `test_torch_base.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch._inductor.utils import run_and_get_code

from minion.frameworks import torch_compile
from minion.frameworks.torch import TorchModel
from minion.frameworks.torch_cuda import page_locked
from minion.frameworks.torch_precision import InPrecision
from minion.model import Batch, LoadContext
from minion.worker.loader import find_model
from wire.torch_options import TorchOptions


def compiled(package: Path) -> object:
    """How far compiled answers are from plain ones, per batch size; compiles nothing anew.

    And how many weights each batch lays out anew, whether the answers stay when weights are
    changed, and which kernels the environment keeps.
    """
    images = np.random.default_rng(0).integers(0, 255, (5, 128, 128, 3), np.uint8)
    scores = []
    for options in (TorchOptions(), TorchOptions(compile="default")):
        model = find_model(package, "tagger:Tagger")()
        model.load(LoadContext(package, "cpu", 1, 5, {}, options))
        model.warmup(Batch({"image": np.zeros_like(images[:1])}, [{}]))
        with torch.compiler.set_stance("fail_on_recompile"):
            for size in range(1, 6):
                answers = model.predict(Batch({"image": images[:size]}, [{}] * size))
                scores.append([answer["tags"][0]["score"] for answer in answers])
    orders = [reorders(model, images[:size]) for size in range(1, 6)]
    for layer in model.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.zero_()
    with torch.compiler.set_stance("fail_on_recompile"):
        changed = model.predict(Batch({"image": images}, [{}] * 5))
    kept = Path(sys.prefix, "compiled").rglob("*.so")
    return {
        "differences": [
            max(abs(plain - fast) for plain, fast in zip(*pair, strict=True))
            for pair in zip(scores[:5], scores[5:], strict=True)
        ],
        "reorders": orders,
        "constant": [answer["tags"][0]["score"] for answer in changed] == scores[-1],
        "kept": {kernel.name: kernel.stat().st_mtime_ns for kernel in kept},
    }


def reorders(model: TorchModel, images: np.ndarray) -> int:
    """How many tensors oneDNN puts into another order in a batch of these."""
    with tempfile.TemporaryFile("w+") as said:
        with sent_to(said), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            model.predict(Batch({"image": images}, [{}] * len(images)))
        said.seek(0)
        lines = [line for line in said if ",exec,cpu," in line]
    assert any(",convolution," in line for line in lines)
    return sum(",reorder," in line for line in lines)


@contextlib.contextmanager
def sent_to(file: IO[str]) -> Iterator[None]:
    """What the process writes to its standard output, native code's lines too, goes there."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(file.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Pools(torch.nn.Module):
    """The same images, pooled in several ways."""

    def __init__(self, *pools: torch.nn.MaxPool2d) -> None:
        super().__init__()
        self.pools = torch.nn.ModuleList(pools)

    def forward(self, images):
        return [pool(images) for pool in self.pools]


def pooling(package: Path) -> object:
    """Whether compiled answers are the plain ones, of ways to pool that can do without a border,
    for one, several and images without a batch, and of others, for one; and whether anything
    outside of the images is looked at."""
    images = torch.randn(3, 4, 13, 18, dtype=torch.bfloat16)
    images[0, 0, 0, 0], images[1, :, :, -1] = torch.nan, -torch.inf
    images = images.to(memory_format=torch.channels_last)
    pool = torch.nn.MaxPool2d
    bordered = Pools(pool(3, 2, 1), pool((2, 5), (1, 3), (1, 2)), pool(3, 2))
    gaps, rounded = pool(3, 1, 1, 2), pool(3, 2, 1, ceil_mode=True)
    others = Pools(gaps, rounded, pool(3, 2, 1, return_indices=True))
    found = []
    for pools, inputs in ((bordered, [images[:1], images, images[0]]), (others, [images[:1]])):
        fast = torch_compile.compiled(pools, "default", torch.device("cpu"), 3)
        with torch.inference_mode():
            _, [code] = run_and_get_code(fast, images[:1])
            same = [same_values(fast(each), pools(each)) for each in inputs]
        found.append([same, "infinity" in code])
    return found


def same_values(found: object, expected: object) -> bool:
    if isinstance(expected, torch.Tensor):
        return np.array_equal(found.float(), expected.float(), equal_nan=True)
    return all(map(same_values, found, expected))


def memory(package: Path) -> object:
    """Which exceptions say that memory ran out."""
    model = TorchModel()
    model.load_network = lambda context: torch.nn.Identity()
    model.load(LoadContext(package, "cpu", 1, 5, {}))
    raised = []
    try:
        torch.empty(2**50, dtype=torch.uint8)
    except RuntimeError as error:
        raised.append(error)
    raised += [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        MemoryError(),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
    ]
    return [model.is_out_of_memory(error) for error in raised]


class Seen(torch.nn.Module):
    """Says which dtypes it is called with and has, and gives its inputs back."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        self.seen = [str(self.weight.dtype), str(inputs["x"].dtype), str(inputs["ids"][0].dtype)]
        return inputs


def precision(package: Path) -> object:
    network = Seen()
    inputs = {"x": torch.ones(2), "ids": (torch.ones(2, dtype=torch.int64),)}
    outputs = InPrecision(network, "bfloat16")(inputs)
    return {
        "inside": network.seen,
        "outside": [str(outputs["x"].dtype), str(outputs["ids"][0].dtype)],
    }


def staged(package: Path) -> object:
    """Equal to the array it came from, which is strided and may not be written to."""
    array = np.arange(24, dtype=np.int16).reshape(4, 6)[::2, ::-1]
    array.flags.writeable = False
    memory = page_locked(array.shape, like=array)
    np.copyto(memory.numpy(), array)
    return [str(memory.dtype), memory.is_contiguous(), bool((memory.numpy() == array).all())]


def no_gpu(package: Path) -> object:
    number = torch.cuda.device_count()
    try:
        TorchModel().load(LoadContext(package, f"cuda:{number}", 1, 8, {}))
    except RuntimeError as error:
        return str(error).replace(f"{number}", "N")
    return None


CHECKS = {
    "compiled": compiled,
    "pooling": pooling,
    "precision": precision,
    "memory": memory,
    "staged": staged,
    "no-gpu": no_gpu,
}

if __name__ == "__main__":
    print(json.dumps(CHECKS[sys.argv[2]](Path(sys.argv[1]))))
