"""The codes that travel between processes, and what a broken frame raises.

A process never sends an exception, only a code from `Code` and a text. What a
code looks like outside (a status, a problem document) is the coordinator's
business; whether trying again can help is decided there too.
"""

from __future__ import annotations

import enum


class WireError(ValueError):
    """What arrived breaks the protocol; the connection it came on is of no further use."""


class Code(str, enum.Enum):
    """Why an example was not answered."""

    QUEUE_FULL = "queue-full"
    DRAINING = "draining"
    NOT_READY = "not-ready"
    INVALID_INPUT = "invalid-input"
    MODEL_ERROR = "model-error"
    INVALID_OUTPUT = "invalid-output"
    WORKER_CRASHED = "worker-crashed"
    PREDICT_TIMEOUT = "predict-timeout"
    OUT_OF_MEMORY = "out-of-memory"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    DEADLINE_UNMEETABLE = "deadline-unmeetable"
    CANCELLED = "cancelled"
