"""A worker's half of the conversation, without its socket: Run in, BatchResult out.

Stacks nothing and copies nothing on the way in: a batch's arrays are views of
the shared memory. What the model returns is checked here, so that a wrong
number of answers, a NaN or an unknown type costs the example it belongs to and
never reaches the host. Blames nobody for an unexplained exception: that is a
BatchFailure, and the host decides what becomes of the batch's members.
"""

from __future__ import annotations

import time
import traceback
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

import numpy as np

from minion.model import Answer, Batch, InvalidInput, Model
from minion.worker.outputs import check_of
from wire.answers import pack_answer
from wire.area import Area
from wire.batches import BatchFailure, BatchResult, Invalid, PackedAnswer, Run, TensorRef
from wire.bodies import TENSOR_ALIGNMENT
from wire.errors import Code, WireError
from wire.frames import MAX_BODY_BYTES, MAX_HEAD_BYTES
from wire.tensor import DTYPES, Buffer, Tensor, made

#: Of a batch's answers without their arrays; the rest of the head is for refusals.
MAX_ANSWERS_BYTES = MAX_HEAD_BYTES * 3 // 4
#: dtype, eight dimensions, offset and flag, as msgpack.
_MAX_PLACE_BYTES = 72
_MAX_WORDS_CHARACTERS = 1000

Inputs = Mapping[str, Tuple[str, Tuple[int, ...]]]


class Miscounted(ValueError):
    """The model returned more answers than there are examples, or fewer: nobody knows whose."""


def zeros(inputs: Inputs) -> Batch:
    """A batch of one example of zeros; an axis of any length gets length 1."""
    arrays = {
        name: np.zeros((1, *(max(length, 1) for length in shape)), DTYPES[dtype])
        for name, (dtype, shape) in inputs.items()
    }
    return Batch(arrays, [{}])


class Session:
    """Runs batches through a loaded model."""

    def __init__(
        self,
        model: Model,
        *,
        incoming: Area,
        outgoing: Sequence[Area],
        outputs: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            outputs: what the manifest declares of answers: JSON Schema per field.
        """
        self._model = model
        self._check = check_of(outputs)
        self._incoming = incoming
        self._outgoing = outgoing
        self._clock = clock

    def run(self, run: Run) -> Union[BatchResult, BatchFailure]:
        """The batch's answers, packed; their arrays stay in a slot of `outgoing` for one more call.

        The slots are used in turn: while the host still reads one, the next is written.
        """
        started = self._clock()
        try:
            answers = self._predict(self._batch(run))
        except (Exception, SystemExit) as error:
            return self._failure(run.id, error)
        seconds = self._clock() - started
        entries, body = self._pack(answers, self._outgoing[run.id % len(self._outgoing)])
        return BatchResult(run.id, entries, seconds, body)

    def _failure(self, id: int, error: BaseException) -> BatchFailure:
        # The log is the author's; outside, an exception is a code and one line.
        traceback.print_exc()
        # Or it would hold the arrays of the batch while the next, smaller one runs.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, Exception) and self._model.is_out_of_memory(error):
            return BatchFailure(id, Code.OUT_OF_MEMORY.value, "the model ran out of memory")
        if isinstance(error, Miscounted):
            return BatchFailure(id, Code.INVALID_OUTPUT.value, str(error))
        return BatchFailure(id, Code.MODEL_ERROR.value, "the model raised an exception")

    def _batch(self, run: Run) -> Batch:
        arrays = {name: self._incoming.view(ref) for name, ref in run.inputs.items()}
        return Batch(arrays, run.parameters or [{}] * run.size)

    def _predict(self, batch: Batch) -> Sequence[Union[Answer, InvalidInput]]:
        """Predicts until nothing is called invalid any more: each round loses one example."""
        invalid: Dict[int, InvalidInput] = {}
        remaining = list(range(batch.size))
        current = batch
        while remaining:
            try:
                answers = self._model.predict(current)
                break
            except InvalidInput as error:
                if not 0 <= error.index < len(remaining):
                    raise
                invalid[remaining.pop(error.index)] = error
                current = batch.select(remaining)
        else:
            answers = []
        if len(answers) != len(remaining):
            raise Miscounted(f"{len(answers)} answers for a batch of {len(remaining)}")
        return self._merge(batch.size, invalid, dict(zip(remaining, answers)))

    @staticmethod
    def _merge(
        size: int,
        invalid: Mapping[int, InvalidInput],
        answers: Mapping[int, Union[Answer, InvalidInput]],
    ) -> Sequence[Union[Answer, InvalidInput]]:
        if not invalid:
            return list(answers.values())
        return [invalid[i] if i in invalid else answers[i] for i in range(size)]

    def _pack(
        self, answers: Sequence[Union[Answer, InvalidInput]], area: Area
    ) -> Tuple[List[Union[PackedAnswer, Invalid]], List[Buffer]]:
        """The head's entries, which together fit into a head, and the body."""
        area.reset()
        body: List[Buffer] = []
        entries = [self._entry(answer, area, body) for answer in answers]
        _bound(entries)
        return entries, body

    def _entry(
        self, answer: Union[Answer, InvalidInput], area: Area, body: List[Buffer]
    ) -> Union[PackedAnswer, Invalid]:
        try:
            if isinstance(answer, InvalidInput):
                return Invalid(_words(answer.code), _words(answer.reason), True)
            self._check(answer)
            packed, arrays = pack_answer(answer)
            return made(PackedAnswer, (packed, _place_all(arrays, area, body) if arrays else ()))
        except WireError as error:
            return _not_sent(str(error))
        except Exception as error:  # the author's own mappings and subclasses are asked here
            traceback.print_exc()
            return _not_sent(f"reading the answer raised {type(error).__name__}")


def _bound(entries: List[Union[PackedAnswer, Invalid]]) -> None:
    """Replaces what does not fit into one head together with those before it."""
    room = MAX_ANSWERS_BYTES
    for index, entry in enumerate(entries):
        if isinstance(entry, PackedAnswer):
            size = len(entry.packed) + len(entry.tensors) * _MAX_PLACE_BYTES
            if size > room:
                entries[index] = _not_sent(
                    f"{size} bytes, of which {room} fit into the batch's answers"
                )
            else:
                room -= size


def _place_all(arrays: Sequence[np.ndarray], area: Area, body: List[Buffer]) -> Sequence[TensorRef]:
    size = sum(array.nbytes + TENSOR_ALIGNMENT for array in arrays)
    if size > MAX_BODY_BYTES:  # of the frame in which the host sends them on
        raise WireError(f"{size} bytes of arrays, at most {MAX_BODY_BYTES} are allowed")
    return [_place(array, area, body) for array in arrays]


def _place(array: np.ndarray, area: Area, body: List[Buffer]) -> TensorRef:
    tensor = Tensor.from_array(array)
    ref = area.reserve(tensor.dtype, tensor.shape)
    if ref is not None:
        area.view(ref)[...] = array
        return ref
    offset = sum(map(len, body))
    if offset + len(tensor.data) > MAX_BODY_BYTES:
        raise WireError(f"the batch's arrays take more than {MAX_BODY_BYTES} bytes")
    body.append(tensor.data)
    return TensorRef(tensor.dtype, tensor.shape, offset, True)


def _not_sent(detail: str) -> Invalid:
    return Invalid(Code.INVALID_OUTPUT.value, detail[:_MAX_WORDS_CHARACTERS], False)


def _words(text: object) -> str:
    """A text that can travel, of whatever an author put in its place."""
    return str(text)[:_MAX_WORDS_CHARACTERS].encode("utf-8", "replace").decode()
