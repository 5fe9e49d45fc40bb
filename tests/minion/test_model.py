"""The author's contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minion.model import Batch, InvalidInput, LoadContext, Model


@pytest.fixture
def batch() -> Batch:
    return Batch({"x": np.array([[1], [2], [3]])}, [{"k": 0}, {"k": 1}, {"k": 2}])


def test_a_batch_is_a_mapping_of_arrays_by_name(batch: Batch) -> None:
    assert dict(batch) == {"x": batch["x"]}
    assert (len(batch), batch.size) == (1, 3)


def test_selected_examples_keep_their_parameters_and_are_copies(batch: Batch) -> None:
    chosen = batch.select([2, 0])

    assert chosen["x"].tolist() == [[3], [1]]
    assert chosen.parameters == [{"k": 2}, {"k": 0}]
    assert not np.shares_memory(chosen["x"], batch["x"])


def test_an_example_is_a_batch_of_one(batch: Batch) -> None:
    assert batch.example(1)["x"].tolist() == [[2]]


class OneByOne(Model):
    def apply(self, example: Any) -> Any:
        if example["x"][0] == 2:
            raise InvalidInput(0, "two", code="even")
        return {"x": int(example["x"][0])}


def test_apply_is_asked_once_an_example_and_told_apart(batch: Batch) -> None:
    first, invalid, last = OneByOne().predict(batch)

    assert (first, last) == ({"x": 1}, {"x": 3})
    assert isinstance(invalid, InvalidInput)
    assert (invalid.index, invalid.reason, invalid.code) == (1, "two", "even")


def test_a_model_that_defines_neither_says_so(batch: Batch) -> None:
    with pytest.raises(NotImplementedError, match=r"predict\(batch\) or apply\(example\)"):
        Model().predict(batch)


def test_warmup_predicts(batch: Batch) -> None:
    with pytest.raises(NotImplementedError):
        Model().warmup(batch)


def test_files_of_the_package_are_found(tmp_path: Path) -> None:
    context = LoadContext(tmp_path, "cpu", 1, 8, {})

    assert context.path("weights/a.pt") == tmp_path / "weights" / "a.pt"
