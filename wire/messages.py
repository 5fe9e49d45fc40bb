"""What is said on a link: one class per message, `encode` to buffers, `decode` from a frame.

A coordinator sends Hello, Predict, Cancel and Tune; a host sends Ready, Result,
Failure, Refusal, Status, Tuned and Drain. Every field that arrives is checked
here; nothing but a WireError leaves. Unknown keys of a head are ignored, so
that a minor addition does not break an older peer. What host and worker say to
each other is in `batches`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from wire.errors import WireError
from wire.flows import ANYBODY, CLASSES, Flow
from wire.frames import Frame, encode_frame
from wire.heads import (
    Kind,
    count,
    flag,
    listed,
    mapped,
    pack,
    pair,
    positive,
    seconds,
    text,
    unpack,
    unpack_list,
    unpack_map,
)
from wire.reasons import Reason
from wire.tensor import Buffer, Tensor, byte_size, made

TENSOR_ALIGNMENT = 8
_PADDING = bytes(TENSOR_ALIGNMENT)
#: In front of Predict's map: seconds, infinite where there is no timeout, the place in memory,
#: and the flow: caller, weight, rank.
_ASKED = struct.Struct("<dqQfB3x")
_FOREVER = float("inf")
_IN_BODY = -1
#: Result: batch size, length of the answer, seconds in the queue and in `predict`, and why
#: the batch left.
_RESULT = struct.Struct("<IIddB")
_REASONS = len(Reason)
#: Longer ones have parameters, which are worth remembering for nobody.
_REMEMBERED_BYTES = 256
#: Of parameters. What is unpacked here is packed again in other messages, one level
#: deeper, and msgpack itself stops at some hundreds: refused far below that.
MAX_PARAMETER_DEPTH = 32


class Memory(NamedTuple):
    """Memory that a coordinator shares with hosts on its machine."""

    descriptor: int
    """Its number in the coordinator's process."""
    size_bytes: int


class Hello(NamedTuple):
    """Coordinator to host, first on a link."""

    name: str
    memory: Optional[Memory] = None

    def encode(self) -> List[Buffer]:
        head: Dict[str, Any] = {"name": self.name}
        if self.memory is not None:
            head["memory"] = self.memory._asdict()
        return encode_frame(Kind.HELLO, 0, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Hello:
        head = unpack(frame)
        memory = None
        if "memory" in head:
            offered = mapped(head, "memory")
            memory = Memory(count(offered, "descriptor"), positive(offered, "size_bytes"))
        return cls(text(head, "name"), memory)


class Ready(NamedTuple):
    """Host to coordinator, in answer to Hello: who serves here, and since which start."""

    model: str
    version: str
    replica: str
    epoch: int
    shares: bool = False
    """Whether it sees the memory that Hello offered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.READY, 0, pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Ready:
        head = unpack(frame)
        return cls(
            text(head, "model"),
            text(head, "version"),
            text(head, "replica"),
            count(head, "epoch"),
            flag(head, "shares") if "shares" in head else False,
        )


class Predict(NamedTuple):
    """Coordinator to host: one example, please. Answered once, under the same id.

    In front of the head's map stands what differs from request to request: maps
    that were seen lately are not taken apart twice.
    """

    id: int
    inputs: Mapping[str, Tensor]
    timeout_seconds: Optional[float]
    parameters: Mapping[str, Any]
    place: Optional[int] = None
    """Where in the shared memory the inputs lie, laid out as in a body; None: in the body."""
    flow: Flow = ANYBODY
    """Whose turn it counts against."""

    def encode(self) -> List[Buffer]:
        timeout = _FOREVER if self.timeout_seconds is None else self.timeout_seconds
        place = _IN_BODY if self.place is None else self.place
        asked = tuple([(name, each.dtype, each.shape) for name, each in self.inputs.items()])
        rank, caller, weight = self.flow
        head = _ASKED.pack(timeout, place, caller, weight, rank) + _packed_asked(
            asked, self.parameters
        )
        body = body_of(self.inputs.values()) if self.place is None else ()
        return encode_frame(Kind.PREDICT, self.id, head, body)

    @classmethod
    def decode(cls, frame: Frame, memory: Optional[memoryview] = None) -> Predict:
        """
        Args:
            memory: what the coordinator shares; its inputs become views of it.
        """
        if len(frame.head) < _ASKED.size:
            raise WireError("the head is shorter than its numbers")
        timeout, place, caller, weight, rank = _ASKED.unpack_from(frame.head)
        if not timeout >= 0:
            raise WireError("timeout is not a number of seconds")
        if not 0 < weight < _FOREVER or rank >= len(CLASSES):
            raise WireError("the flow has no share, or is of no class")
        asked = _asked(bytes(frame.head[_ASKED.size :]))
        body = frame.body
        if place != _IN_BODY:
            if memory is None or place < 0 or len(body):
                raise WireError("place lies in no memory")
            body = memory[place : place + asked.layout.size_bytes]
        fields = (
            frame.id,
            dict(zip(asked.names, _cut(body, asked.layout))),
            None if timeout == _FOREVER else timeout,
            asked.parameters,
            None if place == _IN_BODY else place,
            made(Flow, (rank, caller, weight)),
        )
        return made(cls, fields)


class Answer(NamedTuple):
    """What a model said of one example: msgpack in which extension type 1 stands for a tensor.

    The extension's data is the index into `tensors`, one unsigned byte or
    two, little endian. Hosts pass `packed` on without looking inside.
    """

    packed: Buffer
    tensors: Sequence[Tensor]


class Result(NamedTuple):
    """Host to coordinator: the answer, and what happened on its way.

    Its head is no map: numbers at fixed places, then the answer as the worker
    packed it, then the dtypes and shapes of its tensors where it has any.
    """

    id: int
    answer: Answer
    batch_size: int
    queue_seconds: float
    predict_seconds: float
    left: int
    """Why the batch left the queue when it did: a `Reason`."""

    def encode(self) -> List[Buffer]:
        packed, tensors = self.answer
        numbers = _RESULT.pack(
            self.batch_size, len(packed), self.queue_seconds, self.predict_seconds, self.left
        )
        if not tensors:
            return encode_frame(Kind.RESULT, self.id, numbers + packed)
        declared = pack([[tensor.dtype, tensor.shape] for tensor in tensors])
        head = b"".join((numbers, packed, declared))
        return encode_frame(Kind.RESULT, self.id, head, body_of(tensors))

    @classmethod
    def decode(cls, frame: Frame) -> Result:
        head = frame.head
        if len(head) < _RESULT.size:
            raise WireError("the head is shorter than its numbers")
        batch_size, length, queue, predict, left = _RESULT.unpack_from(head)
        end = _RESULT.size + length
        if end > len(head):
            raise WireError("the head is shorter than its answer")
        if not (0 <= queue < _FOREVER and 0 <= predict < _FOREVER):
            raise WireError("queue or predict is not a number of seconds")
        if left >= _REASONS:
            raise WireError("the batch left for no known reason")
        tensors: List[Tensor] = []
        if end < len(head) or len(frame.body):  # most have none
            declared = unpack_list(head[end:]) if end < len(head) else []
            tensors = _cut(frame.body, _layout(map(pair, declared)))
        answer = made(Answer, (bytes(head[_RESULT.size : end]), tensors))
        return made(cls, (frame.id, answer, batch_size, queue, predict, left))


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
        return encode_frame(Kind.FAILURE, self.id, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Failure:
        head = unpack(frame)
        return cls(frame.id, text(head, "code"), text(head, "detail"), flag(head, "invalid_input"))


class Refusal(NamedTuple):
    """Host to coordinator: this example was not accepted; come back in so many seconds."""

    id: int
    code: str
    detail: str
    retry_after_seconds: float
    numbers: Mapping[str, float] = {}
    """By name, those from which the refusal follows."""

    def encode(self) -> List[Buffer]:
        head = {"code": self.code, "detail": self.detail, "retry_after": self.retry_after_seconds}
        if self.numbers:
            head["numbers"] = self.numbers
        return encode_frame(Kind.REFUSAL, self.id, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Refusal:
        head = unpack(frame)
        retry_after = seconds(head, "retry_after")
        numbers = mapped(head, "numbers") if "numbers" in head else {}
        for name in numbers:
            if not isinstance(name, str):
                raise WireError("numbers has a key that is no text")
            seconds(numbers, name)
        return cls(frame.id, text(head, "code"), text(head, "detail"), retry_after, numbers)


class Cancel(NamedTuple):
    """Coordinator to host: nobody waits for this example any more. It is not answered."""

    id: int

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.CANCEL, self.id, pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Cancel:
        unpack(frame)
        return cls(frame.id)


class Promise(NamedTuple):
    """What a host goes by that was told to answer within a time: see docs/adr/0013."""

    seconds: float
    """Within which who is let in is answered."""
    workers: int
    """How many batches ran side by side when the limit was set."""
    batch_size: int
    """Of a full batch."""
    alone_seconds: float
    """What a batch of one took then; 0 before anything was measured."""
    batch_seconds: float
    """Which that takes, with all workers busy; 0 before anything was measured."""
    deviation: float
    """Of one batch from what is expected, as a part of it: one standard deviation."""
    uncertainty: float
    """The same, of what is expected itself."""
    delay_seconds: float
    """For which a batch that is not full may be held open."""
    standing: bool
    """Whether the limit is kept lower, since more keep coming: see docs/adr/0018."""

    @property
    def enough(self) -> int:
        """So many examples keep all workers busy: a batch on each, and its next one."""
        return 2 * self.workers * self.batch_size


class Status(NamedTuple):
    """Host to coordinator, pushed whenever it changes: how much room there is.

    `others` counts the examples, queued and running, that came by other roads
    than this link; together with what the coordinator has outstanding itself
    it is compared with `queue_limit`. What was learned is 0 before anything was.
    """

    ready: bool
    draining: bool
    queue_limit: int
    others: int
    seconds_per_example: float
    """How often a place becomes free while the lane is busy."""
    seconds_alone: float
    """What a batch of one takes."""
    workers: int
    """How many batches may run side by side."""
    coordinators: int
    """How many are connected, and share the places that become free."""
    promise: Optional[Promise] = None
    """What `queue_limit` follows from, where a promise governs."""

    def encode(self) -> List[Buffer]:
        head = self._asdict()
        del head["promise"]
        if self.promise is not None:
            head["promise"] = self.promise._asdict()
        return encode_frame(Kind.STATUS, 0, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Status:
        head = unpack(frame)
        return cls(
            flag(head, "ready"),
            flag(head, "draining"),
            count(head, "queue_limit"),
            count(head, "others"),
            seconds(head, "seconds_per_example"),
            seconds(head, "seconds_alone"),
            count(head, "workers"),
            count(head, "coordinators"),
            _promise(mapped(head, "promise")) if "promise" in head else None,
        )


def _promise(head: Mapping[str, Any]) -> Promise:
    return Promise(
        seconds(head, "seconds"),
        count(head, "workers"),
        count(head, "batch_size"),
        seconds(head, "alone_seconds"),
        seconds(head, "batch_seconds"),
        seconds(head, "deviation"),
        seconds(head, "uncertainty"),
        seconds(head, "delay_seconds"),
        flag(head, "standing"),
    )


class Drain(NamedTuple):
    """Host to coordinator: send nothing more; what was accepted will be answered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.DRAIN, 0, pack({}))

    @classmethod
    def decode(cls, frame: Frame) -> Drain:
        unpack(frame)
        return cls()


class Tuning(NamedTuple):
    """The numbers an operator may change while a lane runs."""

    queue_limit: Optional[int]
    """Examples queued plus running; None where the promise governs."""
    max_batch_size: int
    max_queue_delay_seconds: float
    revision: int
    """Grows with every change; a host ignores what is older than what it has."""
    promise_seconds: Optional[float] = None
    """Within which who is let in is answered; None where the queue limit governs."""

    def head(self) -> Dict[str, Any]:
        """The numbers by name; of queue limit and promise the one that governs."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Tune(NamedTuple):
    """Coordinator to host: from now on, these numbers. Answered by Tuned under the same id."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNE, self.id, pack(self.tuning.head()))

    @classmethod
    def decode(cls, frame: Frame) -> Tune:
        return cls(frame.id, _tuning(unpack(frame)))


class Tuned(NamedTuple):
    """Host to coordinator: the numbers in force."""

    id: int
    tuning: Tuning

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.TUNED, self.id, pack(self.tuning.head()))

    @classmethod
    def decode(cls, frame: Frame) -> Tuned:
        return cls(frame.id, _tuning(unpack(frame)))


Message = Union[
    Hello, Ready, Predict, Result, Failure, Refusal, Cancel, Status, Drain, Tune, Tuned,
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


def _tuning(head: Mapping[str, Any]) -> Tuning:
    if ("queue_limit" in head) == ("promise_seconds" in head):
        raise WireError("either queue_limit or promise_seconds governs")
    promise = seconds(head, "promise_seconds") if "promise_seconds" in head else None
    return Tuning(
        positive(head, "queue_limit") if promise is None else None,
        positive(head, "max_batch_size"),
        seconds(head, "max_queue_delay_seconds"),
        count(head, "revision"),
        promise,
    )


class _Layout(NamedTuple):
    """Where tensors lie in a body; see `body_of`."""

    tensors: Sequence[Tuple[str, Tuple[int, ...], int, int]]
    """dtype, shape, and from where to where."""
    size_bytes: int


class _Asked(NamedTuple):
    """What the map of a Predict's head says."""

    names: List[str]
    layout: _Layout
    parameters: Dict[str, Any]


@lru_cache(maxsize=1024)
def _packed_names(asked: Tuple[Tuple[str, str, Tuple[int, ...]], ...]) -> bytes:
    return pack({"inputs": asked})


def _packed_asked(
    asked: Tuple[Tuple[str, str, Tuple[int, ...]], ...], parameters: Mapping[str, Any]
) -> bytes:
    """The map of a Predict's head."""
    return pack({"inputs": asked, "parameters": parameters}) if parameters else _packed_names(asked)


def _asked(head: bytes) -> _Asked:
    return _asked_before(head) if len(head) <= _REMEMBERED_BYTES else _read_asked(head)


def _read_asked(packed: bytes) -> _Asked:
    head = unpack_map(packed)
    triples = [_triple(item) for item in listed(head, "inputs")]
    names = [name for name, _, _ in triples]
    if len(set(names)) != len(names):
        raise WireError("an input is named twice")
    parameters = checked_parameters(head["parameters"]) if "parameters" in head else {}
    return _Asked(names, _layout(triple[1:] for triple in triples), parameters)


_asked_before = lru_cache(maxsize=1024)(_read_asked)


def _triple(item: Any) -> Tuple[str, str, Tuple[int, ...]]:
    if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
        return (item[0], *pair(item[1:]))
    raise WireError("an input is not [name, dtype, shape]")


def body_of(tensors: Iterable[Tensor]) -> List[Buffer]:
    """The tensors' bytes one after another, each padded to the alignment of the next."""
    body: List[Buffer] = []
    for tensor in tensors:
        body.append(tensor.data)
        rest = -len(tensor.data) % TENSOR_ALIGNMENT
        if rest:
            body.append(_PADDING[:rest])
    return body


def _layout(declared: Iterable[Tuple[str, Tuple[int, ...]]]) -> _Layout:
    tensors, start = [], 0
    for dtype, shape in declared:
        size = byte_size(dtype, shape)
        tensors.append((dtype, shape, start, start + size))
        start += padded(size)
    return _Layout(tensors, start)


def _cut(body: memoryview, layout: _Layout) -> List[Tensor]:
    """The tensors that `body_of` laid out, as views.

    Raises:
        WireError: the body is longer or shorter than what was declared.
    """
    if len(body) != layout.size_bytes:
        raise WireError(
            f"a body of {len(body)} bytes, its tensors take {layout.size_bytes} with padding"
        )
    return [
        made(Tensor, (dtype, shape, body[start:end])) for dtype, shape, start, end in layout.tensors
    ]


def padded(size_bytes: int) -> int:
    """So many bytes, up to the alignment of what follows."""
    return size_bytes + -size_bytes % TENSOR_ALIGNMENT


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
