"""One example on a link: asked for, called off, and what became of it.

Messages of a link; `messages` knows them all. Predict and Result travel with
every request: numbers stand at fixed places in their heads, and maps that were
seen lately are neither taken apart nor put together again.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from wire.answers import Answer
from wire.bodies import Layout, body_of, cut, layout_of
from wire.errors import WireError
from wire.flows import ANYBODY, CLASSES, Flow
from wire.frames import Frame, encode_frame
from wire.heads import (
    Kind,
    flag,
    listed,
    mapped,
    pack,
    pair,
    seconds,
    text,
    unpack,
    unpack_list,
    unpack_map,
)
from wire.parameters import checked_parameters
from wire.reasons import Reason
from wire.tensor import Buffer, Tensor, made

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
            dict(zip(asked.names, cut(body, asked.layout))),
            None if timeout == _FOREVER else timeout,
            asked.parameters,
            None if place == _IN_BODY else place,
            made(Flow, (rank, caller, weight)),
        )
        return made(cls, fields)


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
            tensors = cut(frame.body, layout_of(map(pair, declared)))
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


class _Asked(NamedTuple):
    """What the map of a Predict's head says."""

    names: List[str]
    layout: Layout
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
    return _Asked(names, layout_of(triple[1:] for triple in triples), parameters)


_asked_before = lru_cache(maxsize=1024)(_read_asked)


def _triple(item: Any) -> Tuple[str, str, Tuple[int, ...]]:
    if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
        return (item[0], *pair(item[1:]))
    raise WireError("an input is not [name, dtype, shape]")
