"""From a batch to the arrays that a network takes, and from its outputs to answers.

The defaults of every base's `preprocess` and `postprocess`. Knows no framework.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

import numpy as np

from minion.model import Answer, Batch


def only_input(batch: Batch) -> np.ndarray:
    """The array of a model with one input: (n, ...), as declared in model.toml.

    Raises:
        ValueError: the model declares several; its `preprocess` has to say what to do.
    """
    if len(batch) != 1:
        raise ValueError(f"the model has inputs {', '.join(batch)}: override preprocess")
    return batch[next(iter(batch))]


def per_example(outputs: Mapping[str, np.ndarray], size: int) -> List[Answer]:
    """One answer per example from arrays with the batch along axis 0.

    Raises:
        ValueError: an output has not `size` rows.
    """
    for name, array in outputs.items():
        if array.shape[:1] != (size,):
            raise ValueError(f"output {name} is {array.shape}, expected {size} along axis 0")
    answers: List[Dict[str, Any]] = [
        {name: array[index] for name, array in outputs.items()} for index in range(size)
    ]
    return list(answers)
