"""A base for Keras 3 models on the TensorFlow backend.

Used by model packages with `keras` and `tensorflow` or `tensorflow-cpu` among
their requirements. Weights are `.keras` files, loaded in safe mode: they hold
no code. The other backends need no base of this size: see `TorchModel`.
"""

from __future__ import annotations

import os
from typing import Any, Sequence, Union

import numpy as np

from minion.frameworks.arrays import only_input, per_example
from minion.frameworks.imports import framework
from minion.frameworks.tensorflow import claim_devices, tf
from minion.model import Answer, Batch, InvalidInput, LoadContext, Model

os.environ["KERAS_BACKEND"] = "tensorflow"  # read once, when keras is imported
keras = framework("keras", requirement="keras")


class KerasModel(Model):
    """Calls the network as one compiled function; override `preprocess` and `postprocess`."""

    file = "weights/model.keras"

    def load_network(self, context: LoadContext) -> Any:
        """The keras.Model with its weights; here read from `file`."""
        return keras.saving.load_model(context.path(self.file), compile=False, safe_mode=True)

    def load(self, context: LoadContext) -> None:
        claim_devices(context)
        self.network = self.load_network(context)
        self.max_batch_size = context.max_batch_size
        # Network.predict is made for data sets and has its price per call.
        # reduce_retracing: traced twice at most, since the batch size differs from call to call.
        self.call = tf.function(
            lambda inputs: self.network(inputs, training=False), reduce_retracing=True
        )

    def preprocess(self, batch: Batch) -> np.ndarray:
        """What the network is called with; here the only input, (n, ...), as declared."""
        return only_input(batch)

    def postprocess(
        self, outputs: np.ndarray, batch: Batch
    ) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example from what the network returned; here {"output": array}."""
        return per_example({"output": outputs}, batch.size)

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        outputs = self.call(tf.constant(self.preprocess(batch))).numpy()
        return self.postprocess(outputs, batch)

    def warmup(self, batch: Batch) -> None:
        """Two batch sizes, so that the function is traced for any before the first request."""
        for size in sorted({1, self.max_batch_size}):
            self.predict(batch.select([0] * size))
