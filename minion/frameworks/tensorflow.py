"""Bases for what TensorFlow exports: SavedModel folders and frozen graphs.

Used by model packages with `tensorflow` or `tensorflow-cpu` among their
requirements. TensorFlow's thread pools and devices belong to the process: they
are set before the first operation, from the LoadContext.
"""

from __future__ import annotations

from typing import Any, ClassVar, Mapping, Sequence, Union

import numpy as np

from minion.frameworks.arrays import per_example
from minion.frameworks.imports import cuda_index, framework
from minion.model import Answer, Batch, InvalidInput, LoadContext, Model

tf = framework("tensorflow", requirement="tensorflow-cpu")


def claim_devices(context: LoadContext) -> None:
    """Limit TensorFlow to the context's threads and its one device; before the first operation.

    Raises:
        RuntimeError: the device is a GPU that TensorFlow does not see, or
            TensorFlow has already run something in this process.
    """
    tf.config.threading.set_intra_op_parallelism_threads(context.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    index = cuda_index(context.device)
    gpus = tf.config.list_physical_devices("GPU")
    if index >= len(gpus):
        raise RuntimeError(f"device is {context.device}, and TensorFlow sees {len(gpus)} GPUs")
    visible = gpus[index : index + 1] if index >= 0 else []
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:
        # Other minions may live on the same GPU.
        tf.config.experimental.set_memory_growth(gpu, True)


class _Graph(Model):
    """What the two formats share: a callable from named tensors to named tensors."""

    def load_graph(self, context: LoadContext) -> Any:
        raise NotImplementedError

    def load(self, context: LoadContext) -> None:
        claim_devices(context)
        self.graph = self.load_graph(context)

    def preprocess(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """The graph's inputs by name, each (n, ...) in the dtype that the graph declares."""
        return dict(batch)

    def postprocess(
        self, outputs: Mapping[str, np.ndarray], batch: Batch
    ) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example from the graph's outputs, each (n, ...)."""
        return per_example(outputs, batch.size)

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        inputs = {name: tf.constant(array) for name, array in self.preprocess(batch).items()}
        outputs = {name: tensor.numpy() for name, tensor in self.graph(inputs).items()}
        return self.postprocess(outputs, batch)


class SavedModel(_Graph):
    """A SavedModel folder, called by one of its signatures.

    The signature's inputs and outputs carry the names by which batch and answer know them.
    """

    folder = "weights/saved_model"
    signature = "serving_default"

    def load_graph(self, context: LoadContext) -> Any:
        # The loaded object owns the variables: the signature alone would lose them.
        self.loaded = tf.saved_model.load(str(context.path(self.folder)))
        signature = self.loaded.signatures[self.signature]
        return lambda inputs: signature(**inputs)


class FrozenGraph(_Graph):
    """A GraphDef with its variables folded into constants, as TensorFlow 1 left them.

    `inputs` and `outputs` map our names to the graph's tensors, such as
    `{"image": "image:0"}`.
    """

    file = "weights/frozen_graph.pb"
    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {}

    def load_graph(self, context: LoadContext) -> Any:
        definition = tf.compat.v1.GraphDef.FromString(context.path(self.file).read_bytes())
        wrapped = tf.compat.v1.wrap_function(
            lambda: tf.import_graph_def(definition, name=""), signature=[]
        )
        find = wrapped.graph.get_tensor_by_name
        function = wrapped.prune(
            {name: find(tensor) for name, tensor in self.inputs.items()},
            {name: find(tensor) for name, tensor in self.outputs.items()},
        )
        return lambda inputs: function(**inputs)
