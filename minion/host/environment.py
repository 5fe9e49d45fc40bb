"""The environment variables of a worker: what it inherits, its threads, its memory.

The one place that says how many threads the libraries under a model may start,
so that the processes of a machine do not trample each other; `LoadContext.threads`
says the same number to the bases in `minion.frameworks`, for pools that read no
variable. Plain values: asks no process, starts none. Called by `processes`,
and for templates.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Nothing of the platform's secrets.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES")

#: Every library reads its thread count from another variable, and all of them read it
#: while they are imported.
THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

#: glibc gives large blocks back to the kernel as soon as they are free, and every batch
#: then pays for its pages again: 10,000 faults and 10 of 45 CPU ms for one photo through a
#: network of ResNet-18's size, 2 of 25 for each of eight (2026-11-21, Xeon of two cores,
#: shared). A worker keeps what its batches need, up to this much beside what it holds, until
#: nobody has asked it for a while (see `minion.worker.incoming`).
#: MALLOC_MMAP_MAX_, since the threshold may not be set above 32 MiB everywhere.
KEPT_BYTES = 2**29
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}


def worker_environment(
    ours: Mapping[str, str], *, threads: int, temporary: str | None = None
) -> dict[str, str]:
    """What a worker is started with.

    Args:
        ours: the host's own environment.
        threads: that the model may compute with.
        temporary: its own folder for what it needs for a while; None for a template.
    """
    environment = {name: ours[name] for name in INHERITED if name in ours}
    environment.update(dict.fromkeys(THREAD_COUNTS, str(threads)))
    environment.update(MEMORY)
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    if temporary is not None:
        environment["TMPDIR"] = temporary
    return environment
