"""JSON Schema for what goes into a model and what comes out.

Checks the fragments that a manifest gives for its outputs, and derives what
`GET /models/...` shows. Only keywords in the table below are accepted, since a
version number promises a shape and a promise must be comparable. Pure; used by
`manifest_parser`, and by `manifest` to show itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from model_registry.manifest_table import Table
from wire.errors import WireError
from wire.tensor import DTYPES, TensorSpec, byte_size

Schema = dict[str, Any]

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def read_tensor(table: Table) -> TensorSpec:
    """The `dtype` and `shape` of a table, -1 standing for any length.

    Raises:
        ManifestError: they are missing or nothing that travels.
    """
    dtype = table.choice("dtype", tuple(DTYPES))
    shape = table.value("shape")
    expected = "a list of up to 8 lengths, -1 for any length, such as [-1, 128, 3]"
    if not isinstance(shape, list) or not all(type(n) is int and n >= -1 for n in shape):
        raise table.refusal("shape", expected)
    try:
        byte_size(dtype, [max(n, 0) for n in shape])
    except WireError as error:
        raise table.refusal("shape", f"{expected} ({error})") from error
    return TensorSpec(dtype, tuple(shape))


def read_output(file: str, path: str, fragment: Mapping[str, Any]) -> Schema:
    """One field of an answer as JSON Schema.

    Raises:
        ManifestError: a keyword that is unknown or has a value of the wrong kind.
    """
    if fragment.get("type") == "tensor":
        table = Table(file, path, fragment, ("type", "dtype", "shape", "description"))
        schema = array_schema(read_tensor(table))
        described = table.text("description", "")
        return {**schema, "description": described} if described else schema
    return _checked(file, path, fragment, with_tensor=True)


def array_schema(spec: TensorSpec) -> Schema:
    """A tensor as nested lists."""
    schema: Schema = {"type": _element_type(spec.dtype)}
    for length in reversed(spec.shape):
        sized = {"minItems": length, "maxItems": length} if length >= 0 else {}
        schema = {"type": "array", "items": schema, **sized}
    return schema


def input_schema(inputs: Mapping[str, TensorSpec]) -> Schema:
    """The `inputs` of one example, each as nested lists or as base64 of its bytes in C order."""
    return object_schema({name: _either_way(spec) for name, spec in inputs.items()})


def object_schema(fields: Mapping[str, Schema]) -> Schema:
    """An object that has exactly these fields."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(fields),
        "additionalProperties": False,
    }


def _either_way(spec: TensorSpec) -> Schema:
    lengths: Schema = {
        "type": "array",
        "prefixItems": [{"const": n} if n >= 0 else {"type": "integer"} for n in spec.shape],
        "minItems": len(spec.shape),
        "maxItems": len(spec.shape),
    }
    packed = object_schema(
        {
            "dtype": {"const": spec.dtype},
            "shape": lengths,
            "data": {"type": "string", "contentEncoding": "base64"},
        }
    )
    return {"anyOf": [array_schema(spec), packed]}


def _element_type(dtype: str) -> str:
    return {"b": "boolean", "u": "integer", "i": "integer"}.get(DTYPES[dtype].kind, "number")


# --- keywords -------------------------------------------------------------------------------


def _checked(
    file: str, path: str, fragment: Mapping[str, Any], *, with_tensor: bool = False
) -> Schema:
    table = Table(file, path, fragment, tuple(_KEYWORDS))
    if not fragment:
        raise table.refusal("type", _type_words(with_tensor))
    for keyword in fragment:
        _KEYWORDS[keyword](table, keyword, with_tensor)
    return dict(fragment)


def _type_words(with_tensor: bool) -> str:
    return "one of " + ", ".join((*TYPES, "tensor") if with_tensor else TYPES) + ", or a list"


def _a_type(table: Table, key: str, with_tensor: bool) -> None:
    value = table.value(key)
    named = value if isinstance(value, list) else [value]
    if not named or not all(isinstance(name, str) and name in TYPES for name in named):
        raise table.refusal(key, _type_words(with_tensor))


def _a_text(table: Table, key: str, _: bool) -> None:
    table.text(key)


def _a_number(table: Table, key: str, _: bool) -> None:
    table.number(key)


def _a_length(table: Table, key: str, _: bool) -> None:
    table.integer(key, (0, 2**31 - 1), 0)


def _a_flag(table: Table, key: str, _: bool) -> None:
    table.flag(key, False)


def _a_schema(table: Table, key: str, _: bool) -> None:
    value = table.value(key)
    if not isinstance(value, dict):
        raise table.refusal(key, "a table with a JSON Schema")
    _checked(table.file, table.dotted(key), value)


def _a_schema_or_flag(table: Table, key: str, _: bool) -> None:
    if not isinstance(table.value(key), bool):
        _a_schema(table, key, False)


def _schemas_by_name(table: Table, key: str, _: bool) -> None:
    value = table.value(key)
    if not isinstance(value, dict):
        raise table.refusal(key, "a table of JSON Schemas by name")
    for name in value:
        _a_schema(Table(table.file, table.dotted(key), value, tuple(value)), name, False)


def _schemas(table: Table, key: str, _: bool) -> None:
    value = table.value(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise table.refusal(key, "a list of tables with JSON Schemas")
    for index, item in enumerate(value):
        _checked(table.file, f"{table.dotted(key)}[{index}]", item)


def _names(table: Table, key: str, _: bool) -> None:
    value = table.value(key)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise table.refusal(key, "a list of names")


def _values(table: Table, key: str, _: bool) -> None:
    if not isinstance(table.value(key), list):
        raise table.refusal(key, "a list of JSON values")
    _a_value(table, key, False)


def _a_value(table: Table, key: str, _: bool) -> None:
    try:
        json.dumps(table.value(key), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise table.refusal(key, "what JSON can say: no date, no time, no nan, no inf") from error


_KEYWORDS: dict[str, Callable[[Table, str, bool], None]] = {
    "type": _a_type,
    "title": _a_text,
    "description": _a_text,
    "format": _a_text,
    "pattern": _a_text,
    "enum": _values,
    "const": _a_value,
    "minimum": _a_number,
    "maximum": _a_number,
    "minLength": _a_length,
    "maxLength": _a_length,
    "items": _a_schema,
    "prefixItems": _schemas,
    "minItems": _a_length,
    "maxItems": _a_length,
    "uniqueItems": _a_flag,
    "properties": _schemas_by_name,
    "required": _names,
    "additionalProperties": _a_schema_or_flag,
    "anyOf": _schemas,
}
