"""A base for ONNX files, run by onnxruntime.

Used by model packages with `onnxruntime` (or `onnxruntime-gpu`) among their
requirements. One session per worker, computing with `context.threads` threads
on `context.device`.
"""

from __future__ import annotations

from typing import Mapping, Sequence, Union

import numpy as np

from minion.frameworks.arrays import per_example
from minion.frameworks.imports import cuda_index, framework
from minion.model import Answer, Batch, InvalidInput, LoadContext, Model

onnxruntime = framework("onnxruntime", requirement="onnxruntime")


class OnnxModel(Model):
    """Feeds the batch's arrays to the graph's inputs of the same names.

    Set `file` where the graph lies elsewhere. Without `postprocess` an answer
    holds the graph's outputs by name, as arrays without the batch axis.
    """

    file = "weights/model.onnx"

    def load(self, context: LoadContext) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = context.threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(context.path(self.file)), options, providers=providers(context.device)
        )
        self.output_names = [output.name for output in self.session.get_outputs()]

    def preprocess(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """The graph's inputs by name, each (n, ...) in the dtype that the graph declares."""
        return dict(batch)

    def postprocess(
        self, outputs: Mapping[str, np.ndarray], batch: Batch
    ) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example from the graph's outputs, each (n, ...)."""
        return per_example(outputs, batch.size)

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        outputs = self.session.run(self.output_names, dict(self.preprocess(batch)))
        return self.postprocess(dict(zip(self.output_names, outputs)), batch)


def providers(device: str) -> list[object]:
    """onnxruntime's execution providers for `cpu` or `cuda:N`.

    Raises:
        RuntimeError: a GPU is asked for and this onnxruntime has no support for one;
            it would fall back to the CPU without a word.
    """
    index = cuda_index(device)
    if index < 0:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError(f"device is {device}, and this onnxruntime has no CUDA provider")
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]
