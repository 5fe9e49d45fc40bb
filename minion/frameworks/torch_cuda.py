"""A torch model's way to one GPU and back: page-locked staging, a stream to copy, one to compute.

Used by `TorchModel` where the device is `cuda:N`; on the CPU it has `Processor`, with the
same methods. Never run on a GPU so far: ADR 12 says what follows from that.
"""

from __future__ import annotations

from typing import Any, ContextManager

import numpy as np

from minion.frameworks.imports import framework

torch = framework("torch", requirement="torch==2.13.0")


class Gpu:
    """The two streams of one worker. Not for several threads."""

    def __init__(self, index: int) -> None:
        """
        Raises:
            RuntimeError: torch was built without CUDA, or sees no GPU of that number.
        """
        seen = torch.cuda.device_count()
        if index >= seen:
            raise RuntimeError(f"device is cuda:{index}, and torch sees {seen} GPUs")
        self.device = torch.device("cuda", index)
        self._computing = torch.cuda.Stream(self.device)
        self._copying = torch.cuda.Stream(self.device)

    def computing(self) -> ContextManager[None]:
        """What is called inside is queued on the stream of this worker."""
        stream: ContextManager[None] = torch.cuda.stream(self._computing)
        return stream

    def tensor(self, array: np.ndarray) -> Any:
        """A copy on the GPU, on its way while the caller goes on.

        What is queued on the caller's stream from now on waits for it. The next array is
        staged while this one is transferred.
        """
        staged = page_locked(array.shape, like=array)
        np.copyto(staged.numpy(), array)
        with torch.cuda.stream(self._copying):
            tensor = staged.to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copying)
        # Its memory came from the copying stream: not to be given away while this one computes.
        tensor.record_stream(computing)
        return tensor

    def array(self, tensor: Any) -> np.ndarray:
        """A copy in page-locked memory; returns when all that it depends on is computed."""
        fetched = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        fetched.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(self.device))
        arrived.synchronize()
        array: np.ndarray = fetched.numpy()
        return array

    def give_back(self) -> None:
        """What torch keeps for later tensors goes back to the GPU, as far as nobody has it."""
        torch.cuda.empty_cache()


def page_locked(shape: tuple[int, ...], *, like: np.ndarray) -> Any:
    """Memory that the GPU reads by itself, for an array of that dtype.

    torch keeps such memory for the next batch, and gives none away whose copy is not over.
    """
    dtype = torch.from_numpy(np.empty(0, like.dtype)).dtype
    return torch.empty(shape, dtype=dtype, pin_memory=torch.cuda.is_available())
