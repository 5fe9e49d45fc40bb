"""Whether inputs are the model's, and which examples may share a batch."""

from __future__ import annotations

import numpy as np
import pytest

from minion.host.inputs import MAX_KNOWN, Inputs, NotTheModels
from wire.area import ALIGNMENT
from wire.tensor import Tensor, TensorSpec

SPECS = {"x": TensorSpec("float32", (-1,)), "y": TensorSpec("int8", (2,))}


def example(length: int = 3, **changes: Tensor) -> dict[str, Tensor]:
    plain = {
        "x": Tensor.from_array(np.ones(length, np.float32)),
        "y": Tensor.from_array(np.ones(2, np.int8)),
    }
    return {**plain, **changes}


def test_equal_shapes_are_one_group() -> None:
    inputs = Inputs(SPECS)

    assert inputs.group(example()) is inputs.group(example())
    assert inputs.group(example(3)) is not inputs.group(example(4))


def test_a_group_knows_what_an_example_takes() -> None:
    assert Inputs(SPECS).group(example(3)).size_bytes == 3 * 4 + 2 + 2 * ALIGNMENT


def test_what_was_refused_is_refused_again() -> None:
    inputs = Inputs(SPECS)
    wrong = example(y=Tensor.from_array(np.ones(3, np.int8)))

    for _ in range(2):
        with pytest.raises(NotTheModels, match=r"input 'y': shape is \[3\], expected \[2\]"):
            inputs.group(wrong)


def test_a_known_shape_under_another_name_or_dtype_is_not_known() -> None:
    inputs = Inputs(SPECS)
    inputs.group(example())

    with pytest.raises(NotTheModels, match="dtype is int32"):
        inputs.group(example(x=Tensor.from_array(np.ones(3, np.int32))))
    with pytest.raises(NotTheModels, match=r"inputs are \['x', 'z'\]"):
        inputs.group({"x": example()["x"], "z": example()["y"]})


def test_ever_new_shapes_are_not_remembered_for_ever() -> None:
    inputs = Inputs(SPECS)
    first = inputs.group(example(1))
    for length in range(2, MAX_KNOWN + 1):
        inputs.group(example(length))
    assert inputs.group(example(1)) is first

    inputs.group(example(MAX_KNOWN + 1))

    assert inputs.group(example(1)) is not first
