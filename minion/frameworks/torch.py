"""A base for torch networks.

Used by model packages with `torch` among their requirements. Computes with
`context.threads` threads on `context.device`, in evaluation and inference mode.
Weights are state dicts: nothing that is unpickled here may hold code.
"""

from __future__ import annotations

import zipfile
from typing import Any, Mapping, Sequence, Union

import numpy as np

from minion.frameworks.arrays import only_input, per_example
from minion.frameworks.imports import cuda_index, framework
from minion.model import Answer, Batch, InvalidInput, LoadContext, Model

torch = framework("torch", requirement="torch==2.13.0")


class TorchModel(Model):
    """Write `load_network`; override `preprocess` and `postprocess` as needed."""

    def load_network(self, context: LoadContext) -> Any:
        """The torch.nn.Module with its weights, on any device."""
        raise NotImplementedError("a TorchModel defines load_network(context)")

    def load(self, context: LoadContext) -> None:
        cuda_index(context.device)
        torch.set_num_threads(context.threads)
        if torch.get_num_interop_threads() != 1:  # may be set once in a process, to anything
            torch.set_num_interop_threads(1)
        self.device = torch.device(context.device)
        self.network = self.load_network(context).to(self.device).eval()

    def weights(self, context: LoadContext, relative: str) -> Mapping[str, Any]:
        """A state dict of the package, such as `weights/tagger.pt`, on the CPU.

        Mapped from the file, so that workers of one machine share its pages, as far as the
        network takes the tensors over: `load_state_dict(..., assign=True)`. Without that they
        are copied. From torch 2.1; files of torch before 1.6 are read.
        """
        path = context.path(relative)
        loaded: Mapping[str, Any] = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
        return loaded

    def tensor(self, array: np.ndarray) -> Any:
        """The array as a tensor on the model's device; shares memory only on the CPU."""
        # torch warns about arrays that may not be written to.
        owned = array if array.flags.writeable else array.copy()
        return torch.from_numpy(owned).to(self.device)

    def preprocess(self, batch: Batch) -> Any:
        """What the network is called with; here the only input, (n, ...), as declared."""
        return self.tensor(only_input(batch))

    def postprocess(self, outputs: Any, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example from what the network returned; here {"output": array}."""
        return per_example({"output": outputs.cpu().numpy()}, batch.size)

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        with torch.inference_mode():
            return self.postprocess(self.network(self.preprocess(batch)), batch)
