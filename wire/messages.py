"""What the frames say: one class per message, `encode` to buffers, `decode` from a frame.

Two conversations use these. On a link a coordinator sends Hello, Predict,
Cancel and Tune; a host sends Ready, Result, Failure, Refusal, Status, Tuned
and Drain. Between host and worker: Load, Loaded, Run, BatchResult and
BatchFailure; there the tensors lie in shared memory and the frames carry
offsets. Every field that arrives is checked here; nothing but a WireError
leaves. Unknown keys of a head are ignored, so that a minor addition does not
break an older peer.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import msgpack

from wire.errors import WireError
from wire.frames import Frame, encode_frame
from wire.tensor import Buffer, Tensor, byte_size

TENSOR_ALIGNMENT = 8
_PADDING = bytes(TENSOR_ALIGNMENT)
_INFINITY = float("inf")
#: Of parameters. What is unpacked here is packed again in other messages, one level
#: deeper, and msgpack itself stops at some hundreds: refused far below that.
MAX_PARAMETER_DEPTH = 32


class Kind:
    """The frame kinds: 1 to 31 travel on links, 32 and up between host and worker."""

    HELLO = 1
    READY = 2
    PREDICT = 3
    RESULT = 4
    FAILURE = 5
    REFUSAL = 6
    CANCEL = 7
    STATUS = 8
    DRAIN = 9
    TUNE = 10
    TUNED = 11
    LOAD = 32
    LOADED = 33
    RUN = 34
    BATCH_RESULT = 35
    BATCH_FAILURE = 36


class TensorRef(NamedTuple):
    """A tensor that lies in shared memory, or in the frame's body where `inline` is set."""

    dtype: str
    shape: Tuple[int, ...]
    offset: int
    inline: bool


class Hello(NamedTuple):
    """Coordinator to host, first on a link."""

    name: str

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.HELLO, 0, _pack({"name": self.name}))

    @classmethod
    def decode(cls, frame: Frame) -> Hello:
        return cls(_text(_unpack(frame), "name"))


class Ready(NamedTuple):
    """Host to coordinator, in answer to Hello: who serves here, and since which start."""

    model: str
    version: str
    replica: str
    epoch: int

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.READY, 0, _pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Ready:
        head = _unpack(frame)
        return cls(
            _text(head, "model"),
            _text(head, "version"),
            _text(head, "replica"),
            _count(head, "epoch"),
        )


class Predict(NamedTuple):
    """Coordinator to host: one example, please. Answered once, under the same id."""

    id: int
    inputs: Mapping[str, Tensor]
    timeout_seconds: Optional[float]
    parameters: Mapping[str, Any]

    def encode(self) -> List[Buffer]:
        names = [[name, tensor.dtype, tensor.shape] for name, tensor in self.inputs.items()]
        head: Dict[str, Any] = {"inputs": names}
        if self.timeout_seconds is not None:
            head["timeout"] = self.timeout_seconds
        if self.parameters:
            head["parameters"] = self.parameters
        return encode_frame(Kind.PREDICT, self.id, _pack(head), _body(self.inputs.values()))

    @classmethod
    def decode(cls, frame: Frame) -> Predict:
        head = _unpack(frame)
        declared = head.get("inputs")
        if not isinstance(declared, list):
            raise WireError("inputs is not a list")
        names, tensors = [], []
        for item in declared:
            name, dtype, shape = _triple(item)
            names.append(name)
            tensors.append((dtype, shape))
        parameters = head.get("parameters")
        parameters = {} if parameters is None else checked_parameters(parameters)
        if len(set(names)) != len(names):
            raise WireError("an input is named twice")
        timeout = _seconds(head, "timeout") if "timeout" in head else None
        return cls(frame.id, dict(zip(names, _cut(frame.body, tensors))), timeout, parameters)


class Answer(NamedTuple):
    """What a model said of one example: msgpack in which extension type 1 stands for a tensor.

    The extension's data is the index into `tensors`, one unsigned byte or
    two, little endian. Hosts pass `packed` on without looking inside.
    """

    packed: Buffer
    tensors: Sequence[Tensor]


class Result(NamedTuple):
    """Host to coordinator: the answer, and what happened on its way."""

    id: int
    answer: Answer
    batch_size: int
    queue_seconds: float
    predict_seconds: float

    def encode(self) -> List[Buffer]:
        head: Dict[str, Any] = {
            "answer": bytes(self.answer.packed),
            "batch_size": self.batch_size,
            "queue": self.queue_seconds,
            "predict": self.predict_seconds,
        }
        if not self.answer.tensors:
            return encode_frame(Kind.RESULT, self.id, _pack(head))
        head["tensors"] = [[tensor.dtype, tensor.shape] for tensor in self.answer.tensors]
        return encode_frame(Kind.RESULT, self.id, _pack(head), _body(self.answer.tensors))

    @classmethod
    def decode(cls, frame: Frame) -> Result:
        head = _unpack(frame)
        tensors = [_pair(item) for item in _list(head, "tensors")] if "tensors" in head else []
        return cls(
            frame.id,
            Answer(_binary(head, "answer"), _cut(frame.body, tensors)),
            _count(head, "batch_size"),
            _seconds(head, "queue"),
            _seconds(head, "predict"),
        )


class Failure(NamedTuple):
    """Host to coordinator: this example was accepted and has no answer.

    `code` is one of `errors.Code`, or the model's own where it called the
    input invalid (`invalid_input` is then set).
    """

    id: int
    code: str
    detail: str
    invalid_input: bool = False

    def encode(self) -> List[Buffer]:
        head = {"code": self.code, "detail": self.detail, "invalid_input": self.invalid_input}
        return encode_frame(Kind.FAILURE, self.id, _pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Failure:
        head = _unpack(frame)
        return cls(
            frame.id, _text(head, "code"), _text(head, "detail"), _flag(head, "invalid_input")
        )


class Refusal(NamedTuple):
    """Host to coordinator: this example was not accepted; come back in so many seconds."""

    id: int
    code: str
    detail: str
    retry_after_seconds: float

    def encode(self) -> List[Buffer]:
        head = {"code": self.code, "detail": self.detail, "retry_after": self.retry_after_seconds}
        return encode_frame(Kind.REFUSAL, self.id, _pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Refusal:
        head = _unpack(frame)
        return cls(
            frame.id, _text(head, "code"), _text(head, "detail"), _seconds(head, "retry_after")
        )


class Cancel(NamedTuple):
    """Coordinator to host: nobody waits for this example any more. It is not answered."""

    id: int

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.CANCEL, self.id, _pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Cancel:
        _unpack(frame)
        return cls(frame.id)


class Status(NamedTuple):
    """Host to coordinator, pushed whenever it changes: how much room there is.

    `others` counts the examples, queued and running, that came by other roads
    than this link; together with what the coordinator has outstanding itself
    it is compared with `queue_limit`.
    """

    ready: bool
    draining: bool
    queue_limit: int
    others: int
    seconds_per_example: float

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.STATUS, 0, _pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Status:
        head = _unpack(frame)
        return cls(
            _flag(head, "ready"),
            _flag(head, "draining"),
            _count(head, "queue_limit"),
            _count(head, "others"),
            _seconds(head, "seconds_per_example"),
        )


class Drain(NamedTuple):
    """Host to coordinator: send nothing more; what was accepted will be answered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.DRAIN, 0, _pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Drain:
        _unpack(frame)
        return cls()


class Tuning(NamedTuple):
    """The numbers an operator may change while a lane runs."""

    queue_limit: int
    max_batch_size: int
    max_queue_delay_seconds: float
    revision: int
    """Grows with every change; a host ignores what is older than what it has."""


class Tune(NamedTuple):
    """Coordinator to host: from now on, these numbers. Answered by Tuned under the same id."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNE, self.id, _pack(self.tuning._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Tune:
        return cls(frame.id, _tuning(_unpack(frame)))


class Tuned(NamedTuple):
    """Host to coordinator: the numbers in force."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNED, self.id, _pack(self.tuning._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Tuned:
        return cls(frame.id, _tuning(_unpack(frame)))


class Load(NamedTuple):
    """Host to worker, first on the socket pair: what to load, and how."""

    directory: str
    entry: str
    device: str
    threads: int
    max_batch_size: int
    options: Mapping[str, Any]
    inputs: Mapping[str, Tuple[str, Tuple[int, ...]]]
    arena_bytes: int

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.LOAD, 0, _pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Load:
        head = _unpack(frame)
        return cls(
            _text(head, "directory"),
            _text(head, "entry"),
            _text(head, "device"),
            _count(head, "threads"),
            _count(head, "max_batch_size"),
            _map(head, "options"),
            {str(name): _pair(item) for name, item in _map(head, "inputs").items()},
            _count(head, "arena_bytes"),
        )


class Loaded(NamedTuple):
    """Worker to host: loaded and warmed up; batches may come."""

    pid: int
    load_seconds: float
    warmup_seconds: float

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.LOADED, 0, _pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Loaded:
        head = _unpack(frame)
        return cls(
            _count(head, "pid"), _seconds(head, "load_seconds"), _seconds(head, "warmup_seconds")
        )


class Run(NamedTuple):
    """Host to worker: one batch, its tensors stacked in the arena."""

    id: int
    size: int
    inputs: Mapping[str, TensorRef]
    parameters: Sequence[Mapping[str, Any]]
    """One map an example, or empty where no example has any."""

    def encode(self) -> List[Buffer]:
        head: Dict[str, Any] = {"size": self.size, "inputs": dict(self.inputs)}
        if self.parameters:
            head["parameters"] = self.parameters
        return encode_frame(Kind.RUN, self.id, _pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Run:
        head = _unpack(frame)
        size = _count(head, "size")
        parameters = _list(head, "parameters") if "parameters" in head else []
        if parameters and len(parameters) != size:
            raise WireError("parameters do not match the batch's size")
        if not all(isinstance(each, dict) for each in parameters):
            raise WireError("an example's parameters are not a map")
        inputs = {str(name): _tensor_ref(item) for name, item in _map(head, "inputs").items()}
        if not inputs or any(ref.shape[:1] != (size,) for ref in inputs.values()):
            raise WireError("the inputs do not match the batch's size")
        return cls(frame.id, size, inputs, parameters)


class Invalid(NamedTuple):
    """In an answer's place: this example has none."""

    code: str
    detail: str
    invalid_input: bool


class PackedAnswer(NamedTuple):
    """An answer whose tensors still lie in the arena or in the frame's body."""

    packed: Buffer
    tensors: Sequence[TensorRef]


class BatchResult(NamedTuple):
    """Worker to host: one entry per example, in order."""

    id: int
    answers: Sequence[Union[PackedAnswer, Invalid]]
    seconds: float
    body: Sequence[Buffer] = ()

    def encode(self) -> List[Buffer]:
        head = {"answers": self.answers, "seconds": self.seconds}
        return encode_frame(Kind.BATCH_RESULT, self.id, _pack(head), self.body)

    @classmethod
    def decode(cls, frame: Frame) -> BatchResult:
        head = _unpack(frame)
        answers = [_answer_entry(item) for item in _list(head, "answers")]
        return cls(frame.id, answers, _seconds(head, "seconds"), [frame.body])


class BatchFailure(NamedTuple):
    """Worker to host: loading, or the batch as a whole, raised."""

    id: int
    code: str
    detail: str

    def encode(self) -> List[Buffer]:
        return encode_frame(
            Kind.BATCH_FAILURE, self.id, _pack({"code": self.code, "detail": self.detail})
        )

    @classmethod
    def decode(cls, frame: Frame) -> BatchFailure:
        head = _unpack(frame)
        return cls(frame.id, _text(head, "code"), _text(head, "detail"))


Message = Union[
    Hello, Ready, Predict, Result, Failure, Refusal, Cancel, Status, Drain, Tune, Tuned,
    Load, Loaded, Run, BatchResult, BatchFailure,
]  # fmt: skip
_DECODERS: Dict[int, Callable[[Frame], Message]] = {
    Kind.HELLO: Hello.decode,
    Kind.READY: Ready.decode,
    Kind.PREDICT: Predict.decode,
    Kind.RESULT: Result.decode,
    Kind.FAILURE: Failure.decode,
    Kind.REFUSAL: Refusal.decode,
    Kind.CANCEL: Cancel.decode,
    Kind.STATUS: Status.decode,
    Kind.DRAIN: Drain.decode,
    Kind.TUNE: Tune.decode,
    Kind.TUNED: Tuned.decode,
    Kind.LOAD: Load.decode,
    Kind.LOADED: Loaded.decode,
    Kind.RUN: Run.decode,
    Kind.BATCH_RESULT: BatchResult.decode,
    Kind.BATCH_FAILURE: BatchFailure.decode,
}


def decode(frame: Frame) -> Message:
    """The message in a frame.

    Raises:
        WireError: an unknown kind, or fields that are missing or of the wrong type.
    """
    decoder = _DECODERS.get(frame.kind)
    if decoder is None:
        raise WireError(f"unknown kind of message {frame.kind}")
    return decoder(frame)


def checked_parameters(value: Any) -> Dict[str, Any]:
    """An example's parameters as they came from outside, if they can travel on from here.

    Raises:
        WireError: not a map, nested too deep, or an integer of more than 64 bits in it.
    """
    if not isinstance(value, dict):
        raise WireError("parameters is not a map")
    _check_parameter(value, MAX_PARAMETER_DEPTH)
    return value


def _check_parameter(value: Any, levels: int) -> None:
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise WireError("parameters hold an integer that does not fit into 64 bits")
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return
    if not levels:
        raise WireError(f"parameters are nested more than {MAX_PARAMETER_DEPTH} deep")
    for item in value:
        _check_parameter(item, levels - 1)


def _pack(head: Mapping[str, Any]) -> bytes:
    return msgpack.packb(head)  # type: ignore[no-any-return]


def _unpack(frame: Frame) -> Dict[str, Any]:
    try:
        head = msgpack.unpackb(frame.head, max_ext_len=0)
    except Exception as error:  # msgpack raises half a dozen kinds, RecursionError among them
        raise WireError(f"the head is not msgpack: {type(error).__name__}") from error
    if not isinstance(head, dict):
        raise WireError("the head is not a map")
    return head


def _text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str):
        raise WireError(f"{key} is not a string")
    return value


def _binary(head: Mapping[str, Any], key: str) -> bytes:
    value = head.get(key)
    if not isinstance(value, bytes):
        raise WireError(f"{key} is not binary")
    return value


def _count(head: Mapping[str, Any], key: str) -> int:
    value = head.get(key)
    if type(value) is not int or value < 0:
        raise WireError(f"{key} is not a count")
    return value


def _positive(head: Mapping[str, Any], key: str) -> int:
    value = _count(head, key)
    if not value:
        raise WireError(f"{key} is 0, at least 1 is needed")
    return value


def _seconds(head: Mapping[str, Any], key: str) -> float:
    value = head.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _INFINITY:
        raise WireError(f"{key} is not a number of seconds")
    return float(value)


def _flag(head: Mapping[str, Any], key: str) -> bool:
    value = head.get(key)
    if not isinstance(value, bool):
        raise WireError(f"{key} is not true or false")
    return value


def _list(head: Mapping[str, Any], key: str) -> List[Any]:
    value = head.get(key)
    if not isinstance(value, list):
        raise WireError(f"{key} is not a list")
    return value


def _map(head: Mapping[str, Any], key: str) -> Dict[Any, Any]:
    value = head.get(key)
    if not isinstance(value, dict):
        raise WireError(f"{key} is not a map")
    return value


def _tuning(head: Mapping[str, Any]) -> Tuning:
    return Tuning(
        _positive(head, "queue_limit"),
        _positive(head, "max_batch_size"),
        _seconds(head, "max_queue_delay_seconds"),
        _count(head, "revision"),
    )


def _pair(item: Any) -> Tuple[str, Tuple[int, ...]]:
    if isinstance(item, list) and len(item) == 2:
        dtype, shape = item
        if isinstance(dtype, str) and isinstance(shape, list) and all(map(_is_int, shape)):
            return dtype, tuple(shape)
    raise WireError("a tensor is not [dtype, shape]")


def _triple(item: Any) -> Tuple[str, str, Tuple[int, ...]]:
    if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
        return (item[0], *_pair(item[1:]))
    raise WireError("an input is not [name, dtype, shape]")


def _is_int(value: Any) -> bool:
    return type(value) is int


def _tensor_ref(item: Any) -> TensorRef:
    if isinstance(item, list) and len(item) == 4:
        dtype, shape = _pair(item[:2])
        offset, inline = item[2:]
        if _is_int(offset) and offset >= 0 and isinstance(inline, bool):
            byte_size(dtype, shape)
            return TensorRef(dtype, shape, offset, inline)
    raise WireError("a tensor is not [dtype, shape, offset, inline]")


def _answer_entry(item: Any) -> Union[PackedAnswer, Invalid]:
    if isinstance(item, list) and len(item) == 2:
        packed, tensors = item
        if isinstance(packed, bytes) and isinstance(tensors, list):
            return PackedAnswer(packed, [_tensor_ref(tensor) for tensor in tensors])
    if isinstance(item, list) and len(item) == 3:
        code, detail, invalid_input = item
        if isinstance(code, str) and isinstance(detail, str) and isinstance(invalid_input, bool):
            return Invalid(code, detail, invalid_input)
    raise WireError("an answer is neither [packed, tensors] nor [code, detail, invalid_input]")


def _body(tensors: Any) -> List[Buffer]:
    """The tensors' bytes one after another, each padded to the alignment of the next."""
    body: List[Buffer] = []
    for tensor in tensors:
        body.append(tensor.data)
        rest = -len(tensor.data) % TENSOR_ALIGNMENT
        if rest:
            body.append(_PADDING[:rest])
    return body


def _cut(body: memoryview, declared: Sequence[Tuple[str, Tuple[int, ...]]]) -> List[Tensor]:
    """The tensors that `_body` laid out, as views.

    Raises:
        WireError: the body is longer or shorter than what was declared.
    """
    tensors, start = [], 0
    for dtype, shape in declared:
        size = byte_size(dtype, shape)
        if start + size > len(body):
            raise WireError("the body is shorter than its tensors")
        tensors.append(Tensor(dtype, shape, body[start : start + size]))
        start += size + -size % TENSOR_ALIGNMENT
    if start != len(body):
        raise WireError(f"a body of {len(body)} bytes, its tensors take {start} with padding")
    return tensors
