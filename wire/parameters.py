"""What may be said to a model beside an example's inputs: options, not data.

Callers' own words, passed on from process to process, and packed again at each. The one rule
for them, called wherever they come in: by coordinators from a body, by hosts from a link and
from HTTP. What passes here passes there too.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List

import msgpack

from wire.errors import WireError
from wire.quoting import shortened

#: What is unpacked here is packed again in other messages, one level deeper, and msgpack
#: itself stops at some hundreds: refused far below that.
MAX_PARAMETER_DEPTH = 32
#: As MessagePack, of one example. Those of a whole batch are in the head of one Run: the largest
#: batch that may be set, 4,096, has to fit below `MAX_HEAD_BYTES`. And the loop waits while
#: they are looked at, some 3 ms where they are all small numbers (2026-11, 2 cores).
MAX_PARAMETER_BYTES = 16_000
#: Bytes that a number may take; a text takes 5 more than it is long, at most.
_WIDEST = 9
#: Of a place, and of each key in it: keys are the caller's.
_PLACE_LENGTH = 200
_KEY_LENGTH = 64


class UnfitParameters(WireError):
    """These parameters cannot travel on. What they came in is intact, and so is the connection."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.too_large = too_large
        self.path: List[str] = []
        """Where in them, from the inside out."""

    @property
    def place(self) -> str:
        """Such as `parameters.boxes[3].label`, at most some 200 characters."""
        if self.too_large:  # all of them together are
            return "parameters"
        return shortened("parameters" + "".join(reversed(self.path)), _PLACE_LENGTH)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def checked_parameters(value: Any) -> Dict[str, Any]:
    """An example's parameters as they came from outside, if they can travel on from here.

    Raises:
        UnfitParameters: not a map of JSON values with strings for keys, finite numbers and
            integers of at most 64 bits, at most 32 deep; or too large.
    """
    if type(value) is not dict:
        raise UnfitParameters("not a map")
    least = MAX_PARAMETER_BYTES - _look(value, MAX_PARAMETER_DEPTH, MAX_PARAMETER_BYTES)
    if least * _WIDEST > MAX_PARAMETER_BYTES and len(msgpack.packb(value)) > MAX_PARAMETER_BYTES:
        raise too_large()
    return value


def _look(value: Any, levels: int, room: int) -> int:
    """The room that is left when this has taken what it takes at least: a byte, and its text.

    So that of something huge not much more is looked at than what could pass.
    """
    kind = type(value)
    if kind is str:
        room -= _text_bytes(value)
    elif kind is int:
        if not -(2**63) <= value < 2**63:
            raise UnfitParameters("the integer does not fit into 64 bits")
    elif kind is float:
        if not math.isfinite(value):
            raise UnfitParameters(f"{value} is not a finite number")
    elif kind is dict or kind is list:
        if not levels:
            raise UnfitParameters(f"nested more than {MAX_PARAMETER_DEPTH} deep")
        if len(value) > room:
            raise too_large()
        inside = _look_into_map if kind is dict else _look_into_list
        room = inside(value, levels - 1, room)
    elif value is not None and kind is not bool:
        raise UnfitParameters(f"{kind.__name__} is not a JSON value")
    if room < 1:
        raise too_large()
    return room - 1


def _look_into_list(items: List[Any], levels: int, room: int) -> int:
    index = -1
    try:
        for item in items:
            index += 1
            room = _look(item, levels, room)
    except UnfitParameters as unfit:
        unfit.path.append(f"[{index}]")
        raise
    return room


def _look_into_map(items: Dict[Any, Any], levels: int, room: int) -> int:
    for key, item in items.items():
        if type(key) is not str:
            raise UnfitParameters("a key is not a string")
        room -= 1 + _text_bytes(key)
        try:
            room = _look(item, levels, room)
        except UnfitParameters as unfit:
            unfit.path.append("." + shortened(key, _KEY_LENGTH))
            raise
    return room


def _text_bytes(value: str) -> int:
    if value.isascii():
        return len(value)
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise UnfitParameters("the text is not valid Unicode") from error


def too_large() -> UnfitParameters:
    return UnfitParameters(
        f"all together take more than {MAX_PARAMETER_BYTES} bytes as MessagePack; "
        "parameters are options, and data belongs into inputs",
        too_large=True,
    )
