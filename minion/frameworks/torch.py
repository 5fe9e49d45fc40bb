"""A base for torch networks.

Used by model packages with `torch` among their requirements. Computes with
`context.threads` threads on `context.device`, in evaluation and inference mode, and
in the precision, compiled in the way, that `[torch]` of model.toml names.
Weights are state dicts: nothing that is unpickled here may hold code.
"""

from __future__ import annotations

import contextlib
import zipfile
from typing import Any, ContextManager, List, Mapping, Optional, Sequence, Union

import numpy as np

from minion.frameworks.arrays import only_input, per_example
from minion.frameworks.imports import cuda_index, framework
from minion.frameworks.torch_compile import compiled
from minion.frameworks.torch_cuda import Gpu
from minion.frameworks.torch_kernels import Kernels
from minion.frameworks.torch_memory import says_out_of_memory
from minion.frameworks.torch_precision import InPrecision
from minion.frameworks.warmups import compiled_sizes, recorded_sizes
from minion.model import Answer, Batch, InvalidInput, LoadContext, Model

torch = framework("torch", requirement="torch==2.13.0")


class Processor:
    """What `Gpu` is for a GPU: nothing has to be carried anywhere."""

    device = torch.device("cpu")

    def computing(self) -> ContextManager[None]:
        return contextlib.nullcontext()

    def tensor(self, array: np.ndarray) -> Any:
        # torch warns about arrays that may not be written to.
        return torch.from_numpy(array if array.flags.writeable else array.copy())

    def array(self, tensor: Any) -> np.ndarray:
        array: np.ndarray = tensor.numpy()
        return array

    def give_back(self) -> None:
        pass


class TorchModel(Model):
    """Write `load_network`; override `preprocess` and `postprocess` as needed."""

    def load_network(self, context: LoadContext) -> Any:
        """The torch.nn.Module with its weights, on any device."""
        raise NotImplementedError("a TorchModel defines load_network(context)")

    def load(self, context: LoadContext) -> None:
        index = cuda_index(context.device)
        self._place: Union[Gpu, Processor] = Processor() if index < 0 else Gpu(index)
        torch.set_num_threads(context.threads)
        if torch.get_num_interop_threads() != 1:  # may be set once in a process, to anything
            torch.set_num_interop_threads(1)
        self.device = self._place.device
        self._warm_sizes: List[int] = [1]
        self._kernels: Optional[Kernels] = None
        with self._place.computing():  # or batches would have to wait for what is queued elsewhere
            self.network = self.load_network(context).to(self.device).eval()
            if context.torch.precision is not None:
                self.network = InPrecision(self.network, context.torch.precision).eval()
        if context.torch.compile is not None:
            self._compile(context.torch.compile, context)

    def _compile(self, mode: str, context: LoadContext) -> None:
        self._kernels = Kernels()
        self.network = compiled(self.network, mode, self.device, context.max_batch_size)
        graphs = mode == "reduce-overhead" and self.device.type == "cuda"
        sizes = recorded_sizes if graphs else compiled_sizes
        self._warm_sizes = sizes(context.max_batch_size)

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
        return self._place.tensor(array)

    def array(self, tensor: Any) -> np.ndarray:
        """A tensor on the model's device as an array; shares memory only on the CPU."""
        return self._place.array(tensor)

    def preprocess(self, batch: Batch) -> Any:
        """What the network is called with; here the only input, (n, ...), as declared."""
        return self.tensor(only_input(batch))

    def postprocess(self, outputs: Any, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example from what the network returned; here {"output": array}."""
        return per_example({"output": self.array(outputs)}, batch.size)

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        with torch.inference_mode(), self._place.computing():
            return self.postprocess(self.network(self.preprocess(batch)), batch)

    def is_out_of_memory(self, error: Exception) -> bool:
        if not (super().is_out_of_memory(error) or says_out_of_memory(error)):
            return False
        self._place.give_back()
        return True

    def warmup(self, batch: Batch) -> None:
        """Of a compiled network, every batch size that would make the first request wait."""
        for size in self._warm_sizes:
            self.predict(batch.select([0] * size))
        if self._kernels is not None:
            self._kernels.keep()
