"""One example of every message, and the bytes that it is on the wire.

The files in `golden/` are the protocol: when a test says that they differ, it
is the code that is wrong, or the protocol's version has to change.
`python -m tests.wire.golden` writes the files of messages that have none yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from wire import batches, messages
from wire.answers import Answer, pack_answer
from wire.batches import (
    BatchFailure,
    BatchResult,
    Invalid,
    Load,
    Loaded,
    PackedAnswer,
    Run,
    TensorRef,
)
from wire.examples import Cancel, Failure, Predict, Refusal, Result
from wire.flows import Flow
from wire.frames import Frame
from wire.greetings import Hello, Memory, Ready
from wire.heads import Kind
from wire.heartbeats import Heartbeat
from wire.reasons import Reason
from wire.status import Drain, Promise, Status
from wire.tensor import Tensor
from wire.torch_options import TorchOptions
from wire.tuning import Tune, Tuned, Tuning

FOLDER = Path(__file__).parent / "golden"
TUNING = Tuning(queue_limit=10, max_batch_size=8, max_queue_delay_seconds=0.005, revision=3)
PIXELS = Tensor("uint8", (2, 1, 3), bytes([1, 2, 3, 4, 5, 6]))
NUMBERS = Tensor("float32", (2,), bytes.fromhex("0000803f000000c0"))  # 1.0, -2.0
PLAIN = {"label": "Käse", "score": 0.5, "n": 3, "no": None, "yes": True, "tags": [{"a": 1}]}
MASKED = {"mask": np.array([[0, 1]], np.uint8), "label": "cat"}

AnyMessage = messages.Message | batches.Message
MESSAGES: dict[str, AnyMessage] = {
    "hello": Hello("coordinator-1"),
    "hello-with-memory": Hello("coordinator-1", Memory(7, 2**28)),
    "hello-with-proof": Hello("coordinator-1", proof="0f" * 32),
    "ready": Ready("tagger", "1.2.3", "tagger-1.2.3-0", 1700000000000),
    "predict": Predict(7, {"x": NUMBERS}, None, {}),
    "predict-with-everything": Predict(
        2**40, {"image": PIXELS, "x": NUMBERS}, 1.5, {"words": ["a"], "top": 3},
        flow=Flow(rank=1, caller=0x0123456789ABCDEF, weight=0.5),
    ),
    "result": Result(7, Answer(pack_answer(PLAIN)[0], []), 4, 0.001, 0.25, Reason.WINDOW),
    "result-with-a-tensor": Result(
        7, Answer(pack_answer(MASKED)[0], [Tensor("uint8", (1, 2), b"\x00\x01")]), 1, 0.0, 0.25,
        Reason.FULL,
    ),
    "failure": Failure(7, "model-error", "the model raised an exception"),
    "failure-of-invalid-input": Failure(7, "image-damaged", "truncated", invalid_input=True),
    "refusal": Refusal(7, "queue-full", "10 examples are queued or running", 0.5),
    "cancel": Cancel(7),
    "refusal-with-numbers": Refusal(7, "queue-full", "full", 0.5, {"occupied": 10, "limit": 9.5}),
    "status": Status(True, False, 10, 2, 0.05, 0.25, 2, 1),
    "status-with-a-promise": Status(
        True, False, 10, 2, 0.05, 0.25, 2, 1,
        Promise(5.0, 2, 8, 0.25, 0.75, 0.125, 0.0625, 0.005, True),
    ),
    "status-with-too-little-memory": Status(
        True, False, 10, 2, 0.05, 0.25, 2, 1, batch_limit=4
    ),
    "status-of-a-lane-that-has-failed": Status(
        False, False, 10, 0, 0.0, 0.0, 2, 1, seconds_until_try=29.5
    ),
    "drain": Drain(),
    "tune": Tune(8, TUNING),
    "tune-to-a-promise": Tune(8, TUNING._replace(queue_limit=None, promise_seconds=5.0)),
    "tuned": Tuned(8, TUNING),
    "heartbeat": Heartbeat(),
    "load": Load(
        "/srv/tagger", "tagger:Tagger", "cpu", 1, 8, {"scale": 0.1},
        {"image": ("uint8", (128, 128, 3)), "x": ("float32", (-1,))}, 2**29,
    ),
    "load-with-torch": Load(
        "/srv/tagger", "tagger:Tagger", "cuda:1", 1, 8, {}, {"x": ("float32", (-1,))}, 2**29,
        TorchOptions("bfloat16", "reduce-overhead"),
    ),
    "load-with-outputs": Load(
        "/srv/tagger", "tagger:Tagger", "cpu", 1, 8, {}, {"x": ("float32", (-1,))}, 2**29,
        outputs={"tags": {"type": "array", "items": {"type": "string"}}, "any": {}},
    ),
    "loaded": Loaded(4711, 1.5, 0.25),
    "run": Run(1, 2, {"x": TensorRef("float32", (2, 3), 64, False)}, []),
    "run-with-parameters": Run(
        2, 1, {"x": TensorRef("float32", (1, 3), 0, False)}, [{"words": ["a"]}]
    ),
    "batch-result": BatchResult(
        1,
        [
            PackedAnswer(pack_answer(MASKED)[0], [TensorRef("uint8", (1, 2), 0, False)]),
            PackedAnswer(pack_answer(MASKED)[0], [TensorRef("uint8", (1, 2), 0, True)]),
            Invalid("unlucky", "thirteen", True),
        ],
        0.125,
        [b"\x00\x01"],
    ),
    "batch-failure": BatchFailure(1, "model-error", "the model raised an exception"),
}  # fmt: skip


def encoded(message: AnyMessage) -> bytes:
    return b"".join(message.encode())


def decode(frame: Frame) -> AnyMessage:
    """The message in a frame of either conversation."""
    return batches.decode(frame) if frame.kind >= Kind.LOAD else messages.decode(frame)


def map_of(frame: Frame) -> dict[str, Any]:
    """What a head says by name: nothing in a Result, what follows the numbers in a Predict."""
    if frame.kind == Kind.RESULT:
        return {}
    return msgpack.unpackb(frame.head[fixed_bytes(frame.kind) :])


def fixed_bytes(kind: int) -> int:
    """How much of a head is numbers at fixed places."""
    return {Kind.PREDICT: 32, Kind.RESULT: 25}.get(kind, 0)


def golden(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, message in MESSAGES.items():
        file = FOLDER / f"{name}.bin"
        if not file.exists():
            file.write_bytes(encoded(message))
            print(file.name)
