"""What is said on a link: every message there is, and which of them a frame holds.

A coordinator sends Hello, Predict, Cancel and Tune; a host sends Ready, Result,
Failure, Refusal, Status, Tuned and Drain; both send Heartbeat. Each is a class with
`encode` to buffers and `decode` from a frame, in `greetings`, `examples`, `status`,
`tuning` or `heartbeats`. Every field that arrives is checked there; nothing but a WireError
leaves. Unknown keys of a head are ignored, so that a minor addition does not
break an older peer. What host and worker say to each other is in `batches`.
"""

from __future__ import annotations

from typing import Callable, Dict, Optional, Union

from wire.errors import WireError
from wire.examples import Cancel, Failure, Predict, Refusal, Result
from wire.frames import Frame
from wire.greetings import Hello, Ready
from wire.heads import Kind
from wire.heartbeats import Heartbeat
from wire.status import Drain, Status
from wire.tuning import Tune, Tuned

Message = Union[
    Hello, Ready, Predict, Result, Failure, Refusal, Cancel, Status, Drain, Tune, Tuned,
    Heartbeat,
]  # fmt: skip
_DECODERS: Dict[int, Callable[[Frame], Message]] = {
    Kind.HELLO: Hello.decode,
    Kind.READY: Ready.decode,
    Kind.RESULT: Result.decode,
    Kind.FAILURE: Failure.decode,
    Kind.REFUSAL: Refusal.decode,
    Kind.CANCEL: Cancel.decode,
    Kind.STATUS: Status.decode,
    Kind.DRAIN: Drain.decode,
    Kind.TUNE: Tune.decode,
    Kind.TUNED: Tuned.decode,
    Kind.HEARTBEAT: Heartbeat.decode,
}


def decode(frame: Frame, memory: Optional[memoryview] = None) -> Message:
    """The message in a frame.

    Args:
        memory: what the coordinator shares, where it does.

    Raises:
        WireError: an unknown kind, or fields that are missing or of the wrong type.
    """
    if frame.kind == Kind.PREDICT:
        return Predict.decode(frame, memory)
    decoder = _DECODERS.get(frame.kind)
    if decoder is None:
        raise WireError(f"unknown kind of message {frame.kind}")
    return decoder(frame)
