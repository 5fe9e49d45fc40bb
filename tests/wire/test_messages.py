"""Messages: whatever a head or a body holds, nothing but a WireError leaves."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.golden import MESSAGES, AnyMessage, decode, encoded, map_of
from wire import messages
from wire.errors import WireError
from wire.examples import Predict, Result
from wire.frames import Frame, FrameReader
from wire.heads import Kind
from wire.parameters import MAX_PARAMETER_BYTES, UnfitParameters, checked_parameters
from wire.tensor import Tensor


#: In front of a head's map.
def asked(
    timeout: float, place: int, *, caller: int = 0, weight: float = 1.0, rank: int = 0
) -> bytes:
    """The numbers in front of a Predict's map."""
    return struct.pack("<dqQfB3x", timeout, place, caller, weight, rank)


NUMBERS = {Kind.PREDICT: asked(1.0, -1), Kind.RESULT: bytes(25)}
#: Fields that have a default.
OPTIONAL = {
    *("batch_limit", "memory", "numbers", "outputs", "parameters", "promise"),
    *("proof", "seconds_until_try", "shares", "torch"),
}
KINDS = sorted(value for name, value in vars(Kind).items() if name.isupper())


def frame(kind: int, head: Any, body: bytes = b"", *, id: int = 1) -> Frame:
    packed = head if isinstance(head, bytes) else NUMBERS.get(kind, b"") + msgpack.packb(head)
    return Frame(kind, id, memoryview(packed), memoryview(body))


def head_of(name: str) -> dict[str, Any]:
    [whole] = FrameReader().feed(encoded(MESSAGES[name]))
    return map_of(whole)


def decoded(kind: int, head: Any, body: bytes = b"") -> AnyMessage:
    return decode(frame(kind, head, body))


# Garbage.

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = sorted({key for name in MESSAGES for key in head_of(name)})


@given(st.sampled_from([*KINDS, 0, 31, 255]), st.binary(max_size=100), st.binary(max_size=32))
@example(Kind.CANCEL, b"\x91" * 5000, b"")
@example(Kind.HELLO, b"\xdf\xff\xff\xff\xff", b"")
@example(Kind.HELLO, b"\xd6\xff\x00\x00\x00\x01", b"")
def test_a_head_of_any_bytes_raises_nothing_but_a_wire_error(
    kind: int, head: bytes, body: bytes
) -> None:
    with contextlib.suppress(WireError):
        decoded(kind, head, body)


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(KEYS), json_like),
    st.binary(max_size=32),
)
def test_a_head_of_any_fields_raises_nothing_but_a_wire_error(
    kind: int, head: dict[str, Any], body: bytes
) -> None:
    with contextlib.suppress(WireError):
        decoded(kind, head, body)


@given(st.data(), st.sampled_from(sorted(MESSAGES)), json_like)
def test_one_wrong_field_raises_nothing_but_a_wire_error(
    data: st.DataObject, name: str, value: Any
) -> None:
    [good] = FrameReader().feed(encoded(MESSAGES[name]))
    head = head_of(name)
    if head:
        head[data.draw(st.sampled_from(sorted(head)))] = value
    with contextlib.suppress(WireError):
        decode(frame(good.kind, head, bytes(good.body)))


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_a_changed_byte_raises_nothing_but_a_wire_error(name: str, data: st.DataObject) -> None:
    changed = bytearray(encoded(MESSAGES[name]))
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        for each in FrameReader(max_head_bytes=10_000, max_body_bytes=10_000).feed(bytes(changed)):
            decode(each)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_missing_field_is_named_or_has_a_default(name: str) -> None:
    [good] = FrameReader().feed(encoded(MESSAGES[name]))
    for key in head_of(name):
        head = head_of(name)
        del head[key]
        if key in OPTIONAL:
            assert decode(frame(good.kind, head, bytes(good.body)))
        else:
            with pytest.raises(WireError, match=key):
                decode(frame(good.kind, head, bytes(good.body)))


@pytest.mark.parametrize("key", ["precision", "compile"])
def test_an_option_of_torch_that_is_not_known_is_named(key: str) -> None:
    head = {**head_of("load-with-torch"), "torch": {key: "fast"}}

    with pytest.raises(WireError, match=f"torch.{key} is 'fast'; expected one of"):
        decode(frame(Kind.LOAD, head, b""))


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(WireError, match="unknown kind of message 99"):
        decoded(99, {})


# What is refused.

PREDICT = {"inputs": [["x", "float32", [1]]]}
NOTHING = msgpack.packb({"inputs": []})


@pytest.mark.parametrize(
    ("kind", "head", "body", "reason"),
    [
        (Kind.HELLO, [], b"", "the head is not a map"),
        (Kind.HELLO, {"name": b"x"}, b"", "name is not a string"),
        (Kind.HELLO, b"\x81\xa4name\xa1\xff", b"", "not msgpack: UnicodeDecodeError"),
        (Kind.HELLO, b"\x81\xa4name\xc7\x01\x05\x00", b"", "not msgpack"),
        (Kind.PREDICT, PREDICT, b"\x00" * 3, "3 bytes, its tensors take 8 with padding"),
        (Kind.PREDICT, PREDICT, b"\x00" * 4, "4 bytes, its tensors take 8 with padding"),
        (Kind.PREDICT, PREDICT, b"\x00" * 9, "9 bytes, its tensors take 8"),
        (Kind.PREDICT, {"inputs": [["x", "float32", [-1]]]}, b"", "dimension -1"),
        (Kind.PREDICT, {"inputs": [["x", "float32", [2**31]]]}, b"", "dimension"),
        (Kind.PREDICT, {"inputs": [["x", "float32", [True]]]}, b"", "not .dtype, shape."),
        (Kind.PREDICT, {"inputs": [["x", "float32", [1] * 9]]}, b"", "9 dimensions"),
        (Kind.PREDICT, {"inputs": [["x", "float32", [2**31 - 1] * 8]]}, b"", "0 bytes, its"),
        (Kind.PREDICT, {"inputs": [["x", "object", [1]]]}, b"", "unknown dtype 'object'"),
        (Kind.PREDICT, {"inputs": [["x", "<f4", [1]]]}, b"", "unknown dtype"),
        (Kind.PREDICT, {"inputs": [["x", "uint8", [0]]] * 2}, b"", "named twice"),
        (Kind.PREDICT, {"inputs": [["x", "uint8"]]}, b"", "not .name, dtype, shape."),
        (Kind.PREDICT, {"inputs": {}}, b"", "inputs is not a list"),
        (Kind.PREDICT, bytes(15), b"", "shorter than its numbers"),
        (Kind.PREDICT, asked(-1, -1) + NOTHING, b"", "timeout"),
        (Kind.PREDICT, asked(math.nan, -1) + NOTHING, b"", "timeout"),
        (Kind.PREDICT, asked(1, 0) + NOTHING, b"", "place lies in no memory"),
        (Kind.PREDICT, asked(1, -1, weight=0.0) + NOTHING, b"", "flow"),
        (Kind.PREDICT, asked(1, -1, weight=-1.0) + NOTHING, b"", "flow"),
        (Kind.PREDICT, asked(1, -1, weight=math.inf) + NOTHING, b"", "flow"),
        (Kind.PREDICT, asked(1, -1, weight=math.nan) + NOTHING, b"", "flow"),
        (Kind.PREDICT, asked(1, -1, rank=3) + NOTHING, b"", "flow"),
        (Kind.RESULT, bytes(23), b"", "shorter than its numbers"),
        (
            Kind.RESULT,
            struct.pack("<IIddB", 1, 2, 0, 0, 0) + b"\x80",
            b"",
            "shorter than its answer",
        ),
        (Kind.RESULT, struct.pack("<IIddB", 1, 0, math.inf, 0, 0), b"", "queue or predict"),
        (Kind.RESULT, struct.pack("<IIddB", 1, 0, 0, -1.0, 0), b"", "queue or predict"),
        (Kind.RESULT, struct.pack("<IIddB", 1, 0, 0, math.nan, 0), b"", "queue or predict"),
        (Kind.RESULT, struct.pack("<IIddB", 1, 0, 0, 0, 255), b"", "no known reason"),
        (Kind.RESULT, bytes(25) + b"\x80", b"", "not a list"),
        (Kind.RESULT, bytes(25) + b"\x91\x01", b"", "not .dtype, shape."),
        (Kind.RESULT, bytes(25), b"12345678", "its tensors take 0"),
        (Kind.PREDICT, {"inputs": [], "parameters": []}, b"", "parameters: not a map"),
        (Kind.CANCEL, b"", b"", "not msgpack"),
        (
            Kind.TUNE,
            {**head_of("tune"), "max_batch_size": 0},
            b"",
            "max_batch_size is 0, at least 1 is needed",
        ),
        (Kind.TUNE, {**head_of("tune"), "queue_limit": 0}, b"", "queue_limit is 0"),
        (Kind.TUNE, {**head_of("tune"), "queue_limit": True}, b"", "queue_limit is not a count"),
        (Kind.RUN, {**head_of("run"), "size": 2**60}, b"", "do not match the batch's size"),
        (Kind.RUN, {"size": 2**60, "inputs": {}}, b"", "do not match the batch's size"),
        (Kind.RUN, {**head_of("run"), "parameters": [{}]}, b"", "parameters do not match"),
        (Kind.RUN, {**head_of("run"), "parameters": [1, 2]}, b"", "parameters are not a map"),
        (Kind.BATCH_RESULT, {"answers": [[1, 2]], "seconds": 0}, b"", "an answer is neither"),
        (
            Kind.BATCH_RESULT,
            {"answers": [[b"", [["uint8", [1], -1, False]]]], "seconds": 0},
            b"",
            "a tensor is not",
        ),
    ],
)
def test_what_makes_no_sense_is_named(kind: int, head: Any, body: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decoded(kind, head, body)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"a": nested(32)},
        {"a": nested(2000)},
        {"a": [2**63]},
        {"a": {"b": -(2**63) - 1}},
        {"a": {1: 2}},
        {"a": math.inf},
        {"a": b"x"},
        {"a": "\ud800"},
        {"a": "x" * MAX_PARAMETER_BYTES},
    ],
    ids=[
        *("none", "list", "33 deep", "2000 deep", "2**63", "-2**63-1"),
        *("key", "infinity", "bytes", "half a character", "too large"),
    ],
)
def test_parameters_that_could_not_travel_on_are_refused(value: Any) -> None:
    with pytest.raises(UnfitParameters):
        checked_parameters(value)


def test_parameters_that_can_are_kept() -> None:
    value = {"a": nested(31), "b": {"c": [1.5, "x", None, True, 2**63 - 1, -(2**63)]}}

    assert checked_parameters(value) is value


def test_a_timeout_without_end_is_none() -> None:
    message = decode(frame(Kind.PREDICT, asked(math.inf, -1) + NOTHING))

    assert isinstance(message, Predict)
    assert message.timeout_seconds is None


def test_a_head_seen_before_is_read_alike() -> None:
    first, second = (
        decode(frame(Kind.PREDICT, asked(seconds, -1) + msgpack.packb(PREDICT), body))
        for seconds, body in ((1.0, bytes(8)), (2.0, bytes(range(8))))
    )

    assert isinstance(first, Predict)
    assert isinstance(second, Predict)
    assert (first.timeout_seconds, bytes(first.inputs["x"].data)) == (1.0, bytes(4))
    assert (second.timeout_seconds, bytes(second.inputs["x"].data)) == (2.0, bytes(range(4)))
    assert first.inputs["x"].shape == second.inputs["x"].shape == (1,)


# Tensors in shared memory.


def test_inputs_in_shared_memory_are_views_of_it() -> None:
    memory = memoryview(bytearray(range(64)))
    inputs = {"a": Tensor("uint8", (3,), b""), "b": Tensor("int16", (2,), b"")}
    [whole] = FrameReader().feed(encoded(Predict(7, inputs, 1.0, {}, place=16)))

    message = messages.decode(whole, memory)

    assert isinstance(message, Predict)
    assert (len(whole.body), message.place) == (0, 16)
    assert message.inputs["a"].data == bytes([16, 17, 18])
    assert message.inputs["b"].data == bytes([24, 25, 26, 27])
    memory[17] = 99
    assert message.inputs["a"].data == bytes([16, 99, 18])


@pytest.mark.parametrize(
    ("place", "body", "reason"),
    [(60, b"", "take 8"), (64, b"", "take 8"), (2**62, b"", "take 8"), (-2, b"", "no memory"),
     (0, bytes(8), "no memory")],
)  # fmt: skip
def test_inputs_outside_the_shared_memory_are_refused(place: int, body: bytes, reason: str) -> None:
    head = asked(1.0, place) + msgpack.packb({"inputs": [["x", "uint8", [8]]]})

    with pytest.raises(WireError, match=reason):
        messages.decode(frame(Kind.PREDICT, head, body), memoryview(bytes(64)))


# Tensors in a body.


def test_tensors_are_aligned_to_eight_bytes() -> None:
    tensors = {
        "a": Tensor.from_array(np.arange(3, dtype=np.uint8)),
        "b": Tensor.from_array(np.array([1.5])),
        "c": Tensor.from_array(np.zeros((0, 3), np.int64)),
        "d": Tensor.from_array(np.array(7, np.int32)),
    }

    [whole] = FrameReader().feed(encoded(Predict(1, tensors, None, {})))
    message = decode(whole)

    assert isinstance(message, Predict)
    assert len(whole.body) == 8 + 8 + 0 + 8
    for name, tensor in tensors.items():
        assert message.inputs[name] == tensor
        assert message.inputs[name].array().tolist() == tensor.array().tolist()


def test_tensors_are_views_of_the_body() -> None:
    [whole] = FrameReader().feed(encoded(MESSAGES["predict"]))
    message = decode(whole)

    assert isinstance(message, Predict)
    assert message.inputs["x"].data.obj is whole.body.obj  # type: ignore[union-attr]


def test_a_result_keeps_a_packed_answer_that_is_a_view() -> None:
    result = MESSAGES["result"]
    assert isinstance(result, Result)
    viewed = result._replace(answer=result.answer._replace(packed=memoryview(result.answer.packed)))

    assert encoded(viewed) == encoded(result)
