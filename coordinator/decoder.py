"""The image tier as the coordinator asks it: a file in, pixels in every wanted form out.

Speaks to one minion in its own words; which photo is decoded when, and for
whom, is decided in `photos`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from coordinator.cache import PhotoFacts
from coordinator.errors import (
    InvalidInput,
    InvalidOutput,
    ModelError,
    OutOfMemory,
    PredictTimeout,
    WorkerCrashed,
)
from coordinator.ticket import Ticket
from model_registry.manifest import ImageInput
from model_registry.snapshot import Version
from wire.tensor import Buffer, Tensor

#: The image tier's minion, as it is listed among the replicas.
DECODER = "decoder"
#: Changes with the pixels that it makes of a photo: results are remembered by it.
DECODER_VERSION = "1.1.0"
DECODER_INPUT = "file"
#: Its words for a photo that costs too much, and for one that cannot be decoded.
TOO_COSTLY = "image-too-costly"
DAMAGED = "image-damaged"


class Transform(NamedTuple):
    """What the image tier should hand over."""

    height: int
    width: int
    resize: str

    @classmethod
    def of(cls, image: ImageInput) -> Transform:
        return cls(image.height, image.width, image.resize)


Transforms = tuple[Transform, ...]


class Decoded(NamedTuple):
    facts: PhotoFacts
    pixels: Mapping[Transform, Tensor]

    def inputs_of(self, version: Version) -> dict[str, Tensor]:
        """What this version takes, all of it made from the photo."""
        return {
            image.name: self.pixels[Transform.of(image)] for image in version.manifest.image_inputs
        }


def transforms_of(versions: Iterable[Version]) -> Transforms:
    """Every transform that these versions need, each once, in order."""
    return tuple(
        dict.fromkeys(
            Transform.of(image) for version in versions for image in version.manifest.image_inputs
        )
    )


async def decode(ticket: Ticket, file: Buffer, transforms: Transforms, deadline: float) -> Decoded:
    """The photo's pixels, once in each of these forms.

    Raises:
        InvalidInput: the decoder's word for what is wrong with the file. One that
            kills it, or is never done, is no fault of ours either: it is alone in
            its batch, and would do so again.
    """
    inputs = {DECODER_INPUT: Tensor("uint8", (len(file),), file)}
    parameters = {"transforms": [transform._asdict() for transform in transforms]}
    try:
        prediction = await ticket.predict(inputs, parameters, deadline)
    except (PredictTimeout, OutOfMemory) as error:
        raise InvalidInput("decoding it takes more than a photo may", code=TOO_COSTLY) from error
    except (ModelError, WorkerCrashed) as error:
        raise InvalidInput("decoding it failed", code=DAMAGED) from error
    try:
        return _decoded(transforms, **prediction.output)
    except (TypeError, ValueError) as error:
        raise InvalidOutput("the image tier's answer cannot be read") from error


def _decoded(
    transforms: Transforms, *, width: int, height: int, format: str, images: Sequence[Tensor]
) -> Decoded:
    """The decoder's answer, its images by what was asked for. Raises TypeError, ValueError."""
    facts = PhotoFacts(width, height, format)
    return Decoded(facts, dict(zip(transforms, images, strict=True)))
