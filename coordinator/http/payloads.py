"""A request's body as values: photos, or the inputs of one model.

Every accepted format ends here; what does not fit is a `CallerError` that
names the place. Knows formats and limits, and no model, queue or pixel.
Handlers find all they need of bodies here: limits, readers, the writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, NoReturn

import msgspec
from aiohttp import web

from coordinator.errors import (
    InvalidBase64,
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
from coordinator.http import multipart, tensors
from coordinator.http.answers import write_answer
from coordinator.http.body import PayloadLimits, defer_continue, read_body
from coordinator.http.head import Timeouts, Wanted, only_timeout, wanted_refs
from coordinator.http.turns import LARGE_BYTES, own_turn
from wire.quoting import quoted, shortened
from wire.tensor import Buffer, TensorSpec

__all__ = [
    "Example",
    "PayloadLimits",
    "Photo",
    "Timeouts",
    "Wanted",
    "defer_continue",
    "only_timeout",
    "parse_example",
    "read_inputs",
    "read_photo",
    "read_photos",
    "wanted_refs",
    "write_answer",
]

JSON = "application/json"
MSGPACK = "application/msgpack"
MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"
IMAGES = "image/*"
_MSGPACK_NAMES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
#: Formats in which a tensor's numbers may stand one by one.
NUMBERS = frozenset({JSON, *_MSGPACK_NAMES})
#: Of lists and objects in JSON; and where MessagePack, which makes a list of each byte, has to be
#: binary. Either makes 16 MiB at most.
_MOST_LISTS = 65_536
_MOST_PACKED_BYTES = 256 * 1024
PHOTO_FIELDS = ("image", "images", "file")
#: Characters of an image's name, as most file systems have it.
MAX_NAME = 255
#: Of an image in a list, beside those in its name: one before it, one between name and data.
_MOST_COMMAS = MAX_NAME + 2
_SLICE_BYTES = 64 * 1024


class Photo(NamedTuple):
    """One image file as it was sent; `data` may be a view of the body."""

    name: str | None
    data: Buffer


class _NamedImage(msgspec.Struct, forbid_unknown_fields=True):
    data: bytes
    name: str | None = None


class _PhotoBody(msgspec.Struct, forbid_unknown_fields=True):
    image: bytes | _NamedImage | msgspec.UnsetType = msgspec.UNSET
    images: list[bytes | _NamedImage] | msgspec.UnsetType = msgspec.UNSET


class _InferBody(msgspec.Struct, forbid_unknown_fields=True):
    inputs: dict[str, Any]
    parameters: dict[str, Any] = {}


class _BinaryTensor(msgspec.Struct):
    dtype: str
    shape: Annotated[list[int], msgspec.Meta(max_length=64)]
    data: memoryview


class _LargeInferBody(msgspec.Struct):
    inputs: dict[str, _BinaryTensor]
    parameters: msgspec.Raw = msgspec.Raw()


_INFER_JSON = msgspec.json.Decoder(_InferBody)
_INFER_MSGPACK = msgspec.msgpack.Decoder(_InferBody)
#: How msgspec begins to say that a list is longer than its type has it.
_TOO_LONG = "Expected `array` of length"
_LARGE_INFER_MSGPACK = msgspec.msgpack.Decoder(_LargeInferBody)


async def read_photos(request: web.Request, limits: PayloadLimits) -> list[Photo]:
    """The photos of a request for `/analyze`: at least one.

    Raises:
        CallerError: with the code and field of what is wrong.
    """
    media_type = request.content_type
    if media_type == MULTIPART:
        photos = _form_photos(await _form(request, limits))
    elif media_type == JSON:
        body = await _body(request, limits)
        _refuse_many_commas(body, limits.max_images)
        photos = _listed_photos(body, msgspec.json.Decoder, InvalidJson, limits.max_images)
    elif _is_msgpack(media_type):
        body = await _body(request, limits)
        photos = _listed_photos(body, msgspec.msgpack.Decoder, InvalidMsgpack, limits.max_images)
    elif media_type.startswith("image/") or media_type == BYTES:
        return [await _raw_photo(request, limits)]
    else:
        raise _unsupported(request, IMAGES, BYTES, MULTIPART, JSON, MSGPACK)
    return _checked(photos, limits)


async def _body(request: web.Request, limits: PayloadLimits) -> bytes:
    return await _bytes(request, limits, limits.max_body_bytes)


async def _raw_photo(request: web.Request, limits: PayloadLimits) -> Photo:
    return Photo(None, await _bytes(request, limits, limits.max_image_bytes))


async def _bytes(request: web.Request, limits: PayloadLimits, max_bytes: int) -> bytes:
    return await read_body(request, max_bytes, limits)


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


@lru_cache(maxsize=8)
def _photo_decoder(decoder: Any, max_images: int) -> Any:
    """Makes no list of more images; MessagePack says before it how long it is."""
    images = Annotated[list[bytes | _NamedImage], msgspec.Meta(max_length=max_images)]
    fields = [("images", images | msgspec.UnsetType, msgspec.UNSET)]
    limited = msgspec.defstruct(
        "_LimitedPhotoBody", fields, bases=(_PhotoBody,), forbid_unknown_fields=True
    )
    return decoder(limited)


def _refuse_many_commas(body: bytes, max_images: int) -> None:
    """JSON has the length of a list after it, and a million images can be sent as 3 MB: those
    would take a second to make."""
    most, found = max_images * _MOST_COMMAS, 0
    for start in range(0, len(body), _SLICE_BYTES):
        found += body.count(b",", start, start + _SLICE_BYTES)
        if found > most:
            raise TooManyImages(
                f"the body has more commas than {max_images} images and their names, which are "
                "the most that are accepted at once",
                field="images",
            )


def _listed_photos(
    data: bytes, decoder: Any, malformed: type[InvalidJson | InvalidMsgpack], max_images: int
) -> list[Photo]:
    try:
        body = _decode(_photo_decoder(decoder, max_images), data, malformed)
    except InvalidBody as error:
        if error.field == "images" and error.detail.startswith(_TOO_LONG):
            raise _too_many_images(f"more than {max_images}", max_images) from None
        raise
    if (body.image is msgspec.UNSET) == (body.images is msgspec.UNSET):
        raise InvalidBody("the body must have either `image` or `images`")
    listed = [body.image] if body.images is msgspec.UNSET else body.images
    return [
        Photo(item.name, item.data) if isinstance(item, _NamedImage) else Photo(None, item)
        for item in listed
        if item is not msgspec.UNSET
    ]


def _checked(photos: list[Photo], limits: PayloadLimits) -> list[Photo]:
    if not photos:
        raise InvalidBody("the body holds no image", field="images")
    if len(photos) > limits.max_images:
        raise _too_many_images(str(len(photos)), limits.max_images)
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


def _too_many_images(count: str, most: int) -> TooManyImages:
    return TooManyImages(f"{count} images, at most {most} are accepted at once", field="images")


async def read_photo(request: web.Request, limits: PayloadLimits) -> Photo:
    """The one photo of a request for `/models/{name}/infer`: the body itself, or in a form.

    Raises:
        CallerError: with the code and field of what is wrong.
    """
    if request.content_type == MULTIPART:
        return _one(_checked(_form_photos(await _form(request, limits)), limits))
    return await _raw_photo(request, limits)


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
            return await _bytes(request, limits, min(most, limits.max_body_bytes))
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
    try:
        large = _decode(_LARGE_INFER_MSGPACK, body, InvalidMsgpack)
    except InvalidBody as error:
        raise _too_many_numbers(f"above {most} bytes, tensors must be binary") from error
    tensors.check_packed_parameters(large.parameters)


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
        return _example(_decode(_INFER_JSON, body, InvalidJson), specs, body, media_type)
    if media_type == BYTES:
        name, spec = _only_input(specs)
        return Example({name: tensors.from_bytes(name, spec, body)}, {}, body, media_type)
    if len(body) > _MOST_PACKED_BYTES:
        _refuse_unless_binary(body, _MOST_PACKED_BYTES)
    return _example(_decode(_INFER_MSGPACK, body, InvalidMsgpack), specs, body, media_type)


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


def _decode(decoder: Any, body: Buffer, malformed: type[InvalidJson | InvalidMsgpack]) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        _refuse_content(str(error))
    except RecursionError as error:
        raise malformed("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(f"{error} (of {len(body)} bytes)") from error


def _refuse_content(message: str) -> NoReturn:
    """msgspec writes what is wrong, then ` - at `, then the place as a path from `$`.

    What is wrong may quote a key of any length, and anything may be in that.
    """
    reason, _, place = message.rpartition(" - at `$.")
    if not reason:
        reason, place = message, ""
    field = place.rstrip("`") or None
    if reason.startswith("Invalid base64"):
        raise InvalidBase64(
            f"{field} is not base64 (RFC 4648, section 4: padded, no line breaks, no data: prefix)",
            field=field,
        )
    raise InvalidBody(reason, field=field)


def _is_msgpack(media_type: str) -> bool:
    return media_type in _MSGPACK_NAMES


def _unsupported(request: web.Request, *accepted: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"Content-Type {quoted(request.content_type)} is not accepted here; "
        f"accepted are {', '.join(accepted)}",
        field="Content-Type",
        members={"accepted": list(accepted)},
    )
