"""What a host and its worker say to each other: Load and Run one way, answers the other.

The tensors of a batch lie in memory that the two share (`area`); these frames
carry where. As on links, every field that arrives is checked, and nothing but a
WireError leaves.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from wire.errors import WireError
from wire.frames import Frame, encode_frame
from wire.heads import Kind, count, is_int, listed, mapped, pack, pair, seconds, text, unpack
from wire.tensor import Buffer, byte_size, made
from wire.torch_options import TorchOptions


class TensorRef(NamedTuple):
    """A tensor that lies in shared memory, or in the frame's body where `inline` is set."""

    dtype: str
    shape: Tuple[int, ...]
    offset: int
    inline: bool


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
    torch: TorchOptions = TorchOptions()
    outputs: Mapping[str, Mapping[str, Any]] = {}
    """What is declared of an answer: JSON Schema per field."""

    def encode(self) -> List[Buffer]:
        head = self._asdict()
        del head["torch"]
        if not self.outputs:
            del head["outputs"]
        if self.torch != TorchOptions():
            head["torch"] = {name: value for name, value in vars(self.torch).items() if value}
        return encode_frame(Kind.LOAD, 0, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Load:
        head = unpack(frame)
        return cls(
            text(head, "directory"),
            text(head, "entry"),
            text(head, "device"),
            count(head, "threads"),
            count(head, "max_batch_size"),
            mapped(head, "options"),
            {str(name): pair(item) for name, item in mapped(head, "inputs").items()},
            count(head, "arena_bytes"),
            _torch_options(mapped(head, "torch") if "torch" in head else {}),
            _schemas(mapped(head, "outputs")) if "outputs" in head else {},
        )


class Loaded(NamedTuple):
    """Worker to host: loaded and warmed up; batches may come."""

    pid: int
    load_seconds: float
    warmup_seconds: float

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.LOADED, 0, pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Loaded:
        head = unpack(frame)
        return cls(
            count(head, "pid"), seconds(head, "load_seconds"), seconds(head, "warmup_seconds")
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
        return encode_frame(Kind.RUN, self.id, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Run:
        head = unpack(frame)
        size = count(head, "size")
        parameters = listed(head, "parameters") if "parameters" in head else []
        if parameters and len(parameters) != size:
            raise WireError("parameters do not match the batch's size")
        if not all(isinstance(each, dict) for each in parameters):
            raise WireError("an example's parameters are not a map")
        inputs = {str(name): _tensor_ref(item) for name, item in mapped(head, "inputs").items()}
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
        return encode_frame(Kind.BATCH_RESULT, self.id, pack(head), self.body)

    @classmethod
    def decode(cls, frame: Frame) -> BatchResult:
        head = unpack(frame)
        answers = [_answer_entry(item) for item in listed(head, "answers")]
        return cls(frame.id, answers, seconds(head, "seconds"), [frame.body])


class BatchFailure(NamedTuple):
    """Worker to host: loading, or the batch as a whole, raised."""

    id: int
    code: str
    detail: str

    def encode(self) -> List[Buffer]:
        return encode_frame(
            Kind.BATCH_FAILURE, self.id, pack({"code": self.code, "detail": self.detail})
        )

    @classmethod
    def decode(cls, frame: Frame) -> BatchFailure:
        head = unpack(frame)
        return cls(frame.id, text(head, "code"), text(head, "detail"))


Message = Union[Load, Loaded, Run, BatchResult, BatchFailure]
_DECODERS: Dict[int, Callable[[Frame], Message]] = {
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


def _tensor_ref(item: Any) -> TensorRef:
    if isinstance(item, list) and len(item) == 4:
        dtype, shape = pair(item[:2])
        offset, inline = item[2:]
        if is_int(offset) and offset >= 0 and isinstance(inline, bool):
            byte_size(dtype, shape)
            return TensorRef(dtype, shape, offset, inline)
    raise WireError("a tensor is not [dtype, shape, offset, inline]")


def _answer_entry(item: Any) -> Union[PackedAnswer, Invalid]:
    if type(item) is list and len(item) == 2:
        packed, tensors = item
        if type(packed) is bytes and type(tensors) is list:
            if not tensors:  # most have none
                return made(PackedAnswer, (packed, ()))
            return PackedAnswer(packed, [_tensor_ref(tensor) for tensor in tensors])
    if isinstance(item, list) and len(item) == 3:
        code, detail, invalid_input = item
        if isinstance(code, str) and isinstance(detail, str) and isinstance(invalid_input, bool):
            return Invalid(code, detail, invalid_input)
    raise WireError("an answer is neither [packed, tensors] nor [code, detail, invalid_input]")


def _schemas(item: Mapping[Any, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {str(name): mapped(item, name) for name in item}


def _torch_options(item: Mapping[Any, Any]) -> TorchOptions:
    try:
        return TorchOptions(item.get("precision"), item.get("compile"))
    except ValueError as error:
        raise WireError(str(error)) from error
