"""What Triton's Python backend loads: batches of tensors to answers."""

from __future__ import annotations

import json
import locale
import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

# Triton's stub sets its own search path.
sys.path.append(os.environ["BENCHMARK_ROOT"])

from benchmarks.peers.task import Work, current
from benchmarks.peers.work import handler


class TritonPythonModel:
    def initialize(self, arguments: Any) -> None:
        # The stub reads files as ASCII, and torch's compiler has others.
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        self._handle = handler(current())
        self._numbers = current().work in (Work.TENSOR, Work.JSON)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One request holds one example: (1, length) float32, or (1, 1) bytes."""
        inputs = [
            backend.get_input_tensor_by_name(request, "body").as_numpy() for request in requests
        ]
        if self._numbers:
            answers = [{"n": array.shape[1]} for array in inputs]
        else:
            answers = self._handle([array[0, 0] for array in inputs])
        return [_response(answer) for answer in answers]


def _response(answer: dict[str, Any]) -> Any:
    text = np.array([[json.dumps(answer)]], dtype=object)
    return backend.InferenceResponse([backend.Tensor("answer", text)])
