"""The photos of a body in JSON or MessagePack: counted before anything is made of them.

An image of no bytes can be sent as three, and costs a microsecond and a hundred bytes
to be made. Called by `payloads`, which looks at their sizes and names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec

from coordinator.errors import InvalidBody, InvalidJson, InvalidMsgpack, TooManyImages
from coordinator.http.decoding import decode
from wire.tensor import Buffer

#: Characters of an image's name, as most file systems have it.
MAX_NAME = 255
#: Of an image in a list, beside those in its name: one before it, one between name and data.
_MOST_COMMAS = MAX_NAME + 2
#: How msgspec begins to say that a list is longer than its type has it.
_TOO_LONG = "Expected `array` of length"


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


def from_json(body: bytes, max_images: int) -> list[Photo]:
    """The photos in order.

    Raises:
        InvalidJson, InvalidBody, InvalidBase64, TooManyImages.
    """
    _refuse_many_commas(body, max_images)
    return _photos(body, msgspec.json.Decoder, InvalidJson, max_images)


def from_msgpack(body: bytes, max_images: int) -> list[Photo]:
    """As `from_json`, or InvalidMsgpack."""
    return _photos(body, msgspec.msgpack.Decoder, InvalidMsgpack, max_images)


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
    place = -1
    for _ in range(max_images * _MOST_COMMAS + 1):
        place = body.find(b",", place + 1)
        if place < 0:
            return
    raise TooManyImages(
        f"the body has more commas than {max_images} images and their names, which are "
        "the most that are accepted at once",
        field="images",
    )


def _photos(
    data: bytes, decoder: Any, malformed: type[InvalidJson | InvalidMsgpack], max_images: int
) -> list[Photo]:
    try:
        body = decode(_photo_decoder(decoder, max_images), data, malformed)
    except InvalidBody as error:
        if error.field == "images" and error.detail.startswith(_TOO_LONG):
            raise too_many_images(f"more than {max_images}", max_images) from None
        raise
    if (body.image is msgspec.UNSET) == (body.images is msgspec.UNSET):
        raise InvalidBody("the body must have either `image` or `images`")
    listed = [body.image] if body.images is msgspec.UNSET else body.images
    return [
        Photo(item.name, item.data) if isinstance(item, _NamedImage) else Photo(None, item)
        for item in listed
        if item is not msgspec.UNSET
    ]


def too_many_images(count: str, most: int) -> TooManyImages:
    return TooManyImages(f"{count} images, at most {most} are accepted at once", field="images")
