import importlib

import numpy as np
import pytest

from minion.frameworks.arrays import only_input, per_example
from minion.frameworks.imports import cuda_index, framework
from minion.model import Batch


@pytest.mark.parametrize(
    ("base", "requirement"),
    [
        ("torch", "torch==2.13.0"),
        ("keras", "tensorflow-cpu"),
        ("tensorflow", "tensorflow-cpu"),
        ("onnx", "onnxruntime"),
    ],
)
def test_a_base_without_its_framework_names_the_requirement_to_add(base, requirement):
    with pytest.raises(ImportError, match=f"add {requirement} to the package's requirements.txt"):
        importlib.import_module(f"minion.frameworks.{base}")


def test_a_framework_that_lacks_a_part_of_its_own_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text("import absent_part\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ModuleNotFoundError, match="absent_part"):
        framework("halfway", requirement="halfway")


@pytest.mark.parametrize(
    ("device", "index"), [("cpu", -1), ("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)]
)
def test_a_device_is_the_processor_or_a_numbered_gpu(device, index):
    assert cuda_index(device) == index


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cpu:0"])
def test_an_unknown_device_is_refused_with_what_would_be_accepted(device):
    with pytest.raises(ValueError, match="expected cpu, cuda or cuda:N"):
        cuda_index(device)


def test_outputs_part_into_one_answer_per_example():
    answers = per_example({"a": np.array([1, 2]), "b": np.array([[3], [4]])}, 2)

    assert [{name: a.tolist() for name, a in answer.items()} for answer in answers] == [
        {"a": 1, "b": [3]},
        {"a": 2, "b": [4]},
    ]


def test_an_output_without_the_batch_axis_is_named():
    with pytest.raises(ValueError, match=r"output a is \(3,\), expected 2 along axis 0"):
        per_example({"a": np.zeros(3)}, 2)


def test_a_model_with_several_inputs_has_to_say_how_they_go_in():
    batch = Batch({"left": np.zeros((1, 2)), "right": np.zeros((1, 2))}, [{}])

    with pytest.raises(ValueError, match="left, right"):
        only_input(batch)
