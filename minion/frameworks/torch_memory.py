"""Which of torch's exceptions say that memory ran out.

Used by `TorchModel`. On a GPU there is a class for it, a RuntimeError too; what the
allocator of the CPU and CUDA's libraries raise can be told by their words alone.
"""

from __future__ import annotations

#: "CUDA out of memory. Tried to allocate ...", "CUDA error: out of memory"; of the CPU:
#: "DefaultCPUAllocator: can't allocate memory: you tried to allocate ..."; of cuBLAS and cuDNN:
#: "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED".
WORDS = ("out of memory", "can't allocate memory", "not enough memory", "_alloc_failed")


def says_out_of_memory(error: Exception) -> bool:
    """Whether it does; torch.cuda.OutOfMemoryError is a RuntimeError with such words."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in WORDS)
