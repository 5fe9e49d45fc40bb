"""The torch base with the options of `[torch]`, in the environment of the tagger."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minion.frameworks.warmups import CALLS_PER_GRAPH, compiled_sizes, recorded_sizes
from tests.acceptance.platform import eventually

TAGGER = Path(__file__).parents[2] / "examples" / "tagger"
SCRIPT = Path(__file__).with_name("torch_base.py")


@pytest.fixture(scope="module")
def check(interpreter: Callable[[str], Path]) -> Callable[[str], Any]:
    """check("staged"): what that check of `torch_base.py` prints."""

    def check(name: str) -> Any:
        finished = subprocess.run(
            [interpreter("tagger"), "-I", SCRIPT, TAGGER, name],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return json.loads(finished.stdout.splitlines()[-1])

    return check


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_in_half_precision_the_tagger_says_the_same_less_exactly(serve, photo, precision):
    images = np.stack([photo("cat.jpg", 128), photo("coffee.jpg", 128)])

    whole = serve("tagger", image=images)
    half = serve("tagger", {"precision": precision}, image=images)

    for exact, rounded in zip(whole, half, strict=True):
        assert rounded["tags"][0]["label"] == exact["tags"][0]["label"]
        assert rounded["tags"][0]["score"] == pytest.approx(exact["tags"][0]["score"], abs=0.03)
        assert rounded["tags"] != exact["tags"]


def test_floating_inputs_and_weights_are_halved_and_outputs_whole_and_integers_kept(check):
    assert check("precision") == {
        "inside": ["torch.bfloat16", "torch.bfloat16", "torch.int64"],
        "outside": ["torch.float32", "torch.int64"],
    }


def test_the_allocators_exceptions_say_that_memory_ran_out_and_no_others(check):
    assert check("memory") == [True, True, True, True, False, False]


@pytest.fixture(scope="module")
def left(interpreter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the environment keeps of a process that was killed when it had begun to compile."""
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    python, own = interpreter("tagger"), tmp_path_factory.mktemp("own")
    with subprocess.Popen(
        [python, "-I", SCRIPT, TAGGER, "compiled"], env={**os.environ, "TMPDIR": str(own)}
    ) as process:
        try:
            eventually(lambda: any(own.rglob("*.so")), within=120, what="a kernel")
        finally:
            process.kill()
    return [str(file) for file in (python.parents[1] / "compiled").rglob("*")]


@pytest.fixture(scope="module")
def compiled(left: list[str], check: Callable[[str], Any]) -> list[Any]:
    """What was found by a process that had to compile, after that one, and by the next one."""
    return [check("compiled"), check("compiled")]


def test_a_process_that_is_killed_while_it_compiles_leaves_nothing(left):
    assert left == []


def test_after_warmup_no_batch_size_compiles_and_the_answers_are_the_plain_ones(compiled):
    for found in compiled:
        assert len(found["differences"]) == 5
        assert max(found["differences"]) < 1e-4


def test_compiled_on_a_cpu_weights_are_constants_and_no_batch_lays_them_out_anew(compiled):
    for found in compiled:
        assert found["constant"]
        assert found["reorders"] == [0, 0, 0, 0, 0]


def test_compiled_on_a_cpu_max_pooling_is_the_same_and_looks_at_no_border(check, left):
    assert check("pooling") == [[[True, True, True], False], [[True], True]]


def test_a_process_finds_the_kernels_that_one_before_it_compiled(compiled):
    first, second = compiled

    assert first["kept"]
    assert second["kept"] == first["kept"]


def test_an_array_that_is_strided_and_read_only_is_staged_whole(check):
    assert check("staged") == ["torch.int16", True, True]


def test_a_gpu_that_torch_does_not_see_is_named(check):
    assert check("no-gpu") == "device is cuda:N, and torch sees N GPUs"


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 8])])
def test_one_and_the_largest_batch_size_are_compiled(largest, sizes):
    assert compiled_sizes(largest) == sizes


@pytest.mark.parametrize("largest", [1, 2, 3, 8])
def test_a_graph_is_recorded_and_replayed_for_every_batch_size(largest):
    calls = recorded_sizes(largest)

    assert {size: calls.count(size) for size in calls} == dict.fromkeys(
        range(1, largest + 1), CALLS_PER_GRAPH
    )
