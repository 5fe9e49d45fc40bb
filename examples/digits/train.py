"""Trains `weights/digits.onnx` on scikit-learn's digits and prints its accuracy. About 10 s.

python train.py, in an environment made from train-requirements.txt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 0
WEIGHTS = Path(__file__).parent / "weights" / "digits.onnx"


def shifted(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every digit as it is and moved by one pixel in four directions."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    padded = np.pad(pixels.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    copies = [padded[:, 1 + y : 9 + y, 1 + x : 9 + x].reshape(-1, 64) for y, x in moves]
    return np.concatenate(copies), np.tile(labels, len(moves))


def to_onnx(classifier: MLPClassifier) -> onnx.ModelProto:
    """pixels (n, 8, 8) 0..16 -> probabilities (n, 10); the scaling is part of the graph."""
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("Div", ["flat", "darkest"], ["layer0"]),
    ]
    constants = [numpy_helper.from_array(np.array(16, np.float32), "darkest")]
    layers = list(zip(classifier.coefs_, classifier.intercepts_, strict=True))
    for index, (weights, bias) in enumerate(layers):
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{index}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"b{index}"))
        inputs = [f"layer{index}", f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum{index}"]))
        last = index == len(layers) - 1
        kind, name = ("Softmax", "probabilities") if last else ("Relu", f"layer{index + 1}")
        nodes.append(helper.make_node(kind, [f"sum{index}"], [name]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    more_x, more_y = shifted(train_x, train_y)
    classifier = MLPClassifier((96, 48), alpha=1e-3, max_iter=60, random_state=SEED)
    classifier.fit(more_x / 16.0, more_y)
    WEIGHTS.parent.mkdir(exist_ok=True)
    onnx.save(to_onnx(classifier), WEIGHTS)

    session = onnxruntime.InferenceSession(WEIGHTS, providers=["CPUExecutionProvider"])
    images = test_x.reshape(-1, 8, 8).astype(np.float32)
    (probabilities,) = session.run(["probabilities"], {"pixels": images})
    right = probabilities.argmax(axis=1) == test_y
    print(f"accuracy {right.mean():.4f} ({right.sum()} of {len(right)} held-out digits)")


if __name__ == "__main__":
    main()
