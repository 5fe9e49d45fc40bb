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
from typing import Callable, Dict, List, Mapping, Sequence, Tuple, Union

import numpy as np

from minion.model import Answer, Batch, InvalidInput, Model
from wire.answers import pack_answer
from wire.area import Area
from wire.errors import Code, WireError
from wire.messages import BatchFailure, BatchResult, Invalid, PackedAnswer, Run, TensorRef
from wire.tensor import DTYPES, Buffer, Tensor

Inputs = Mapping[str, Tuple[str, Tuple[int, ...]]]


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
        outgoing: Area,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model = model
        self._incoming = incoming
        self._outgoing = outgoing
        self._clock = clock

    def run(self, run: Run) -> Union[BatchResult, BatchFailure]:
        """The batch's answers, packed; their arrays lie in `outgoing` until the next call."""
        started = self._clock()
        try:
            answers = self._predict(self._batch(run))
        except Exception:
            # The log is the author's; outside, an exception is a code and one line.
            traceback.print_exc()
            return BatchFailure(run.id, Code.MODEL_ERROR.value, "the model raised an exception")
        seconds = self._clock() - started
        self._outgoing.reset()
        body: List[Buffer] = []
        entries = [self._entry(answer, body) for answer in answers]
        return BatchResult(run.id, entries, seconds, body)

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
            raise ValueError(f"{len(answers)} answers for a batch of {len(remaining)}")
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

    def _entry(
        self, answer: Union[Answer, InvalidInput], body: List[Buffer]
    ) -> Union[PackedAnswer, Invalid]:
        try:
            if isinstance(answer, InvalidInput):
                return Invalid(_words(answer.code), _words(answer.reason), True)
            packed, arrays = pack_answer(answer)
        except WireError as error:
            return Invalid(Code.INVALID_OUTPUT.value, str(error), False)
        except Exception as error:  # the author's own mappings and subclasses are asked here
            traceback.print_exc()
            detail = f"reading the answer raised {type(error).__name__}"
            return Invalid(Code.INVALID_OUTPUT.value, detail, False)
        return PackedAnswer(packed, [self._place(array, body) for array in arrays])

    def _place(self, array: np.ndarray, body: List[Buffer]) -> TensorRef:
        tensor = Tensor.from_array(array)
        ref = self._outgoing.reserve(tensor.dtype, tensor.shape)
        if ref is not None:
            self._outgoing.view(ref)[...] = array
            return ref
        offset = sum(map(len, body))
        body.append(tensor.data)
        return TensorRef(tensor.dtype, tensor.shape, offset, True)


def _words(text: object) -> str:
    """A text that can travel, of whatever an author put in its place."""
    return str(text).encode("utf-8", "replace").decode()
