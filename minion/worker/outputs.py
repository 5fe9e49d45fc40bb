"""Whether an answer is what the manifest's `[output.*]` declares.

The JSON Schemas become functions once, when the model is loaded. What they look at is
what a version promises of its answers' shape: fields, types, lengths of arrays. Values
(`enum`, `minimum`, `pattern`) are the model's own business. Arrays and numbers of numpy
are looked at as what they are sent as. Pure.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Sequence, Union

import numpy as np

from wire.errors import WireError

#: Raises WireError, which names the place, if the value there is not what is declared.
Check = Callable[[Any, str], None]

#: JSON's names for the kinds of numpy's dtypes.
_KINDS = {"b": ("boolean",), "i": ("integer", "number"), "u": ("integer", "number")}


def check_of(fields: Mapping[str, Mapping[str, Any]]) -> Callable[[Any], None]:
    """A function that raises WireError for an answer without one of these fields, or with
    another type in it. Fields that are not declared are let pass."""
    checks = {name: _compiled(schema) for name, schema in fields.items()}

    def check(answer: Any) -> None:
        if not hasattr(answer, "keys"):
            return  # which is told in other words where the answer is packed
        for name, look in checks.items():
            if name not in answer:
                raise WireError(f"the answer has no field {name!r}, which the model declares")
            look(answer[name], name)

    return check


def _compiled(schema: Mapping[str, Any]) -> Check:
    types, inside = _named(schema), _inside(schema)
    if not types:
        return inside or _anything
    quick = frozenset(kind for kind, names in _PLAIN.items() if not types.isdisjoint(names))
    if "number" in types:
        quick |= {float}

    def check(value: Any, place: str) -> None:
        if type(value) not in quick and types.isdisjoint(_types_of(value)):
            raise WireError(f"{place} is {_word(value)}, declared is {' or '.join(sorted(types))}")
        if inside is not None:
            inside(value, place)

    return check


def _anything(value: Any, place: str) -> None:
    pass


def _inside(schema: Mapping[str, Any]) -> Union[Check, None]:
    """What is declared of an array's items, or an object's fields; None: nothing."""
    items, fields = schema.get("items"), schema.get("properties", {})
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    required: Sequence[str] = schema.get("required", ())
    each = None if items is None else _compiled(items)
    checks = {name: _compiled(field) for name, field in fields.items()}
    if each is None and not checks and not required and not least and most is None:
        return None

    def check(value: Any, place: str) -> None:
        if hasattr(value, "keys"):
            _check_fields(value, place, checks, required)
        elif isinstance(value, np.ndarray) and value.ndim:
            _check_array(value, place, schema)
        elif isinstance(value, (list, tuple)):
            _check_length(len(value), place, least, most)
            if each is not None:
                for index, item in enumerate(value):
                    each(item, f"{place}[{index}]")

    return check


def _check_fields(
    value: Any, place: str, checks: Dict[str, Check], required: Sequence[str]
) -> None:
    for name in required:
        if name not in value:
            raise WireError(f"{place} has no field {name!r}, which the model declares")
    for name, check in checks.items():
        if name in value:
            check(value[name], f"{place}.{name}")


def _check_array(array: np.ndarray, place: str, schema: Mapping[str, Any]) -> None:
    """Without a look at its elements: they are all of one type."""
    level: Any = schema
    for axis, length in enumerate(array.shape):
        types = _named(level)
        if types and "array" not in types:
            raise WireError(f"{place} has {array.ndim} dimensions, declared are {axis}")
        _check_length(length, place, level.get("minItems", 0), level.get("maxItems"))
        level = level.get("items") or {}
    types = _named(level)
    if types and types.isdisjoint(_KINDS.get(array.dtype.kind, ("number",))):
        raise WireError(
            f"{place} has dtype {array.dtype} in {array.ndim} dimensions, "
            f"declared is {' or '.join(sorted(types))}"
        )


def _named(schema: Mapping[str, Any]) -> FrozenSet[str]:
    named = schema.get("type", ())
    return frozenset([named] if isinstance(named, str) else named)


def _check_length(length: int, place: str, least: int, most: Union[int, None]) -> None:
    if length < least or (most is not None and length > most):
        declared = f"{least}" if least == most else f"at least {least}"
        if most is not None and least != most:
            declared += f" and at most {most}"
        raise WireError(f"{place} has length {length}, declared is {declared}")


def _types_of(value: Any) -> Sequence[str]:
    """JSON's names for the type of a value; none where it is not one of JSON's."""
    kind = type(value)
    found = _PLAIN.get(kind)
    if found is not None:
        return found
    if kind is float:
        return ("integer", "number") if value.is_integer() else ("number",)
    if isinstance(value, np.ndarray):
        return ("array",) if value.ndim else _types_of(value[()])
    if isinstance(value, np.generic):
        plain = value.item()
        return () if isinstance(plain, np.generic) else _types_of(plain)
    if hasattr(value, "keys"):
        return ("object",)
    return ("array",) if isinstance(value, (list, tuple)) else ()


_PLAIN: Dict[type, Sequence[str]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    str: ("string",),
    type(None): ("null",),
    dict: ("object",),
    list: ("array",),
    tuple: ("array",),
}


def _word(value: Any) -> str:
    types: List[str] = list(_types_of(value))
    return types[0] if types else type(value).__name__
