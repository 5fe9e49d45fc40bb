"""The author's contract: what a model looks like to the platform, and the platform to a model.

Runs in the model's own environment, on Python 3.9 and later, with numpy and
msgpack and nothing else of ours. Knows no process, socket or queue: a worker
calls `load` once, `warmup` once, then `predict` batch after batch, always from
the same thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Sequence, Union

import numpy as np

from wire.torch_options import TorchOptions

#: What a model says of one example: a mapping of JSON values (str, int, finite
#: float, bool, None, list, dict); numpy arrays and numbers may stand anywhere in it.
Answer = Mapping[str, Any]


class InvalidInput(ValueError):
    """One example of a batch cannot be answered, and that is the sender's doing.

    Raised from `predict`, the rest of the batch is predicted again without the
    example; returned in an answer's place, nothing is computed twice. `code` is
    a stable word for programs, in the manner of `image-damaged`.
    """

    def __init__(self, index: int, reason: str, *, code: str = "invalid-input") -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason
        self.code = code


class LoadContext(NamedTuple):
    """What a model may know of its surroundings while it loads."""

    directory: Path
    """The published package: model.toml's folder, read-only by agreement."""
    device: str
    """`cpu`, or `cuda:N`."""
    threads: int
    """Threads that the model may compute with; BLAS and OpenMP are already limited to it."""
    max_batch_size: int
    options: Mapping[str, Any]
    """The `[options]` of model.toml; mostly empty."""
    torch: TorchOptions = TorchOptions()
    """The `[torch]` of model.toml; `TorchModel` does what it says."""

    def path(self, relative: str) -> Path:
        """A file of the package, such as `weights/tagger.pt`."""
        return self.directory / relative


class Batch(Mapping[str, np.ndarray]):
    """Examples of equal shape, stacked along axis 0, by input name.

    The arrays are views of memory that is reused after `predict` returns: copy
    what must outlive it.
    """

    def __init__(
        self,
        inputs: Mapping[str, np.ndarray],
        parameters: Sequence[Mapping[str, Any]],
    ) -> None:
        self._inputs: Dict[str, np.ndarray] = dict(inputs)
        self.parameters = parameters
        """Per example, what its request asked for beside the tensors; mostly empty."""

    @property
    def size(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    def example(self, index: int) -> Batch:
        """The example at `index`, as a batch of one."""
        return self.select([index])

    def select(self, indices: Sequence[int]) -> Batch:
        """The examples at `indices`, in that order, copied."""
        chosen = list(indices)
        return Batch(
            {name: array[chosen] for name, array in self._inputs.items()},
            [self.parameters[index] for index in chosen],
        )


class Model:
    """One version of a model. Subclass it and write `load` and `predict`."""

    def load(self, context: LoadContext) -> None:
        """Read weights, build networks. Called once, before anything else."""

    def predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        """One answer per example, in order.

        Raises:
            InvalidInput: the example at `index` is at fault.
        """
        answers: list[Union[Answer, InvalidInput]] = []
        for index in range(batch.size):
            try:
                answers.append(self.apply({name: array[index] for name, array in batch.items()}))
            except InvalidInput as invalid:
                answers.append(InvalidInput(index, invalid.reason, code=invalid.code))
        return answers

    def apply(self, example: Mapping[str, np.ndarray]) -> Answer:
        """One answer for one example: for authors who prefer it to `predict`."""
        raise NotImplementedError("a model defines predict(batch) or apply(example)")

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether what `predict` raised says that memory ran out: smaller batches are tried then.

        Where memory can be given back, such as that of a framework's cache, this is the place.
        """
        return isinstance(error, MemoryError)

    def warmup(self, batch: Batch) -> None:
        """Called once after `load` with a batch of zeros of the declared shapes.

        A version whose warmup raises is not served. Override it where zeros are
        not an input that the model accepts.
        """
        self.predict(batch)
