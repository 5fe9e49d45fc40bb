"""A request's body as values: photos, or the inputs of one model.

Every accepted format ends here; what does not fit is a `CallerError` that
names the place. Knows formats and limits, and no model, queue or pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from coordinator.errors import (
    InvalidBody,
    InvalidJson,
    InvalidMsgpack,
    MissingInput,
    PayloadTooLarge,
    TooManyImages,
    UnknownInput,
    UnsupportedMediaType,
)
from coordinator.examples import Example
from coordinator.http import multipart, photo_lists, tensors
from coordinator.http.body import PayloadLimits, Place, read_body
from coordinator.http.decoding import decode
from coordinator.http.media_types import (
    BYTES,
    IMAGES,
    JSON,
    MSGPACK,
    MSGPACK_NAMES,
    MULTIPART,
    NUMBERS,
    is_photo,
)
from coordinator.http.photo_lists import MAX_NAME, Photo, too_many_images
from coordinator.turns import LARGE_BYTES, own_turn
from wire.quoting import quoted, shortened
from wire.tensor import Buffer, TensorSpec

#: Of lists and objects in JSON; and where MessagePack, which makes a list of each byte, has to be
#: binary. Either makes 16 MiB at most.
_MOST_LISTS = 65_536
_MOST_PACKED_BYTES = 256 * 1024
_MOST_INPUTS = 1024
PHOTO_FIELDS = ("image", "images", "file")


class _InferBody(msgspec.Struct, forbid_unknown_fields=True):
    inputs: dict[str, Any]
    parameters: dict[str, Any] = {}


class _BinaryTensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[list[int], msgspec.Meta(max_length=64)]
    data: memoryview


class _LargeInferBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is looked at before a large body is made into values: all of it, or these would be
    larger than was looked at."""

    inputs: Annotated[dict[str, _BinaryTensor], msgspec.Meta(max_length=_MOST_INPUTS)]
    parameters: msgspec.Raw = msgspec.Raw()


_INFER_JSON = msgspec.json.Decoder(_InferBody)
_INFER_MSGPACK = msgspec.msgpack.Decoder(_InferBody)
_LARGE_INFER_MSGPACK = msgspec.msgpack.Decoder(_LargeInferBody)


async def read_photos(request: web.Request, limits: PayloadLimits, place: Place) -> list[Photo]:
    """The photos of a request for `/analyze`: at least one.

    Args:
        place: where one is received that is the body itself.

    Raises:
        CallerError: with the code and field of what is wrong.
    """
    media_type = request.content_type
    if media_type == MULTIPART:
        photos = _form_photos(await _form(request, limits))
    elif media_type == JSON:
        body = await _body(request, limits)
        photos = photo_lists.from_json(body, limits.max_images)
    elif media_type in MSGPACK_NAMES:
        body = await _body(request, limits)
        photos = photo_lists.from_msgpack(body, limits.max_images)
    elif is_photo(media_type) or media_type == BYTES:
        return [await _raw_photo(request, limits, place)]
    else:
        raise _unsupported(request, IMAGES, BYTES, MULTIPART, JSON, MSGPACK)
    return _checked(photos, limits)


async def _body(request: web.Request, limits: PayloadLimits) -> bytes:
    return await read_body(request, limits.max_body_bytes, limits)


async def _raw_photo(request: web.Request, limits: PayloadLimits, place: Place) -> Photo:
    return Photo(None, await read_body(request, limits.max_image_bytes, limits, place))


async def _form(request: web.Request, limits: PayloadLimits) -> list[multipart.Part]:
    boundary = multipart.boundary_of(request.headers["Content-Type"])
    return multipart.split(await _body(request, limits), boundary, max_parts=limits.max_parts)


def _form_photos(parts: list[multipart.Part]) -> list[Photo]:
    for part in parts:
        if part.filename is None and part.name not in PHOTO_FIELDS:
            raise InvalidBody(
                "a form field that is no file; models, require, optional and timeout "
                "belong into the query",
                field=part.name,
            )
    return [Photo(part.filename, part.data) for part in parts]


def _checked(photos: list[Photo], limits: PayloadLimits) -> list[Photo]:
    if not photos:
        raise InvalidBody("the body holds no image", field="images")
    if len(photos) > limits.max_images:
        raise too_many_images(str(len(photos)), limits.max_images)
    for index, photo in enumerate(photos):
        if photo.name is not None and len(photo.name) > MAX_NAME:
            raise PayloadTooLarge(
                f"an image's name has {len(photo.name)} characters, "
                f"at most {MAX_NAME} are accepted",
                field=f"images[{index}].name",
            )
        if len(photo.data) > limits.max_image_bytes:
            raise PayloadTooLarge(
                f"an image has {len(photo.data)} bytes, "
                f"at most {limits.max_image_bytes} are accepted",
                field=f"images[{index}]",
            )
    return photos


async def read_photo(request: web.Request, limits: PayloadLimits, place: Place) -> Photo:
    """The one photo of a request for `/models/{name}/infer`: the body itself, or in a form.

    Args:
        place: where the body itself is received.

    Raises:
        CallerError: with the code and field of what is wrong.
    """
    if request.content_type == MULTIPART:
        return _one(_checked(_form_photos(await _form(request, limits)), limits))
    return await _raw_photo(request, limits, place)


async def read_inputs(
    request: web.Request,
    specs: Mapping[str, TensorSpec],
    limits: PayloadLimits,
    *,
    photos_too: bool = False,
) -> Example:
    """The one example of a request for `/models/{name}/infer`, as the model's own inputs.

    Args:
        specs: what the model declares, by input name.
        photos_too: whether `read_photo` would take other bodies for this model; said in refusals.

    Raises:
        CallerError: with the code and field of what is wrong.
    """
    media_type = request.content_type
    if media_type == BYTES or media_type in NUMBERS:
        body = await _example_body(request, limits)
        return await example_in_turn(body, media_type, specs)
    photos = (IMAGES, MULTIPART) if photos_too else ()
    raise _unsupported(request, JSON, MSGPACK, BYTES, *photos)


async def _example_body(request: web.Request, limits: PayloadLimits) -> bytes:
    """The body, short where it is written in numbers one by one.

    Each of those becomes an object while everybody else waits: 24 MiB took the event loop
    2 seconds (2026-11, 2 cores).
    """
    most = limits.max_json_bytes
    if request.content_type == JSON:
        try:
            return await read_body(request, min(most, limits.max_body_bytes), limits)
        except PayloadTooLarge as error:
            raise _too_many_numbers(error.detail) from None
    body = await _body(request, limits)
    if len(body) > most and request.content_type != BYTES:
        _refuse_unless_binary(body, most)
    return body


def _refuse_many_lists(body: bytes) -> None:
    """A list or an object costs some 64 bytes and a microsecond, and can be sent as three bytes."""
    if body.count(b"[") + body.count(b"{") > _MOST_LISTS:
        raise _too_many_numbers(f"there are more than {_MOST_LISTS} lists in the body")


def _refuse_unless_binary(body: Buffer, most: int) -> None:
    if _entries(body) > len(_LargeInferBody.__struct_fields__):
        raise InvalidBody("the body has more fields than `inputs` and `parameters`")
    try:
        large = decode(_LARGE_INFER_MSGPACK, body, InvalidMsgpack)
    except InvalidBody as error:
        raise _too_many_numbers(f"above {most} bytes, tensors must be binary") from error
    tensors.check_packed_parameters(large.parameters)


def _entries(packed: Buffer) -> int:
    """Of a map in MessagePack, how many it says that it has: of one name there may be several.
    What is no map has none."""
    kind, more = packed[0], bytes(packed[1:5])
    if kind == 0xDF:
        return int.from_bytes(more, "big")
    if kind == 0xDE:
        return int.from_bytes(more[:2], "big")
    return kind & 0x0F if kind & 0xF0 == 0x80 else 0


def _too_many_numbers(detail: str) -> PayloadTooLarge:
    return PayloadTooLarge(f"{detail}; send tensors as {BYTES}, or as {MSGPACK} with binary `data`")


def takes_a_turn(media_type: str, size_bytes: int) -> bool:
    """Whether taking such a body apart is so much work that it waits for its turn."""
    return size_bytes > LARGE_BYTES and media_type in NUMBERS


async def example_in_turn(
    body: Buffer, media_type: str, specs: Mapping[str, TensorSpec]
) -> Example:
    """As `parse_example`, in its turn where it takes one."""
    if not takes_a_turn(media_type, len(body)):
        return parse_example(body, media_type, specs)
    async with own_turn():
        return parse_example(body, media_type, specs)


def parse_example(body: Buffer, media_type: str, specs: Mapping[str, TensorSpec]) -> Example:
    """The example that a body of JSON, MessagePack or one raw tensor holds.

    Raises:
        CallerError: as `read_inputs`.
    """
    if media_type == JSON:
        if len(body) > _MOST_LISTS:
            _refuse_many_lists(bytes(body))
        return _example(decode(_INFER_JSON, body, InvalidJson), specs, body, media_type)
    if media_type == BYTES:
        name, spec = _only_input(specs)
        return Example({name: tensors.from_bytes(name, spec, body)}, {}, body, media_type)
    if len(body) > _MOST_PACKED_BYTES:
        _refuse_unless_binary(body, _MOST_PACKED_BYTES)
    return _example(decode(_INFER_MSGPACK, body, InvalidMsgpack), specs, body, media_type)


def _one(photos: list[Photo]) -> Photo:
    if len(photos) > 1:
        raise TooManyImages(f"{len(photos)} images, this route takes one", field="images")
    return photos[0]


def _example(
    body: _InferBody, specs: Mapping[str, TensorSpec], raw: Buffer, media_type: str
) -> Example:
    if body.inputs.keys() != specs.keys():
        _refuse_missing(specs.keys() - body.inputs.keys())
        unknown = min(body.inputs.keys() - specs.keys())
        raise UnknownInput(
            f"there is no input {quoted(unknown)}; there are {', '.join(sorted(specs))}",
            field=f"inputs.{shortened(unknown)}",
            members={"available": sorted(specs)},
        )
    if body.parameters:
        tensors.check_parameters(body.parameters)
    inputs = {}
    for name, value in body.inputs.items():
        inputs[name] = tensors.from_value(name, specs[name], value)
    return Example(inputs, body.parameters, raw, media_type)


def _refuse_missing(names: set[str]) -> None:
    if names:
        raise MissingInput(f"missing: {', '.join(sorted(names))}", field=f"inputs.{min(names)}")


def _only_input(specs: Mapping[str, TensorSpec]) -> tuple[str, TensorSpec]:
    if len(specs) != 1:
        raise InvalidBody(
            f"one raw tensor cannot fill the inputs {', '.join(sorted(specs))}; "
            f"send {JSON} or {MSGPACK}"
        )
    return next(iter(specs.items()))


def _unsupported(request: web.Request, *accepted: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"Content-Type {quoted(request.content_type)} is not accepted here; "
        f"accepted are {', '.join(accepted)}",
        field="Content-Type",
        members={"accepted": list(accepted)},
    )
