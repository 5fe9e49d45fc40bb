"""The decoder as a model, so that a minion serves it: same bouncer, same supervision.

One example is one file. What is wanted of it is in its parameters, because every
request's models want other sizes. Knows `decode`, `transforms` and the author's
contract; loaded by a worker as `preprocess.model:Decoder`. A refusal is an
`InvalidInput` whose `code` is one of `decode`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from minion.model import Answer, Batch, InvalidInput, LoadContext, Model
from preprocess.allowance import CPU_SECONDS, Limits, cpu_allowed, memory_allowed
from preprocess.decode import DecodeError, decode_image
from preprocess.transforms import Picture, Resize, Transform, render

#: Above every phone's 12 and most cameras' 24 megapixels.
DEFAULT_MAX_PIXELS = 40_000_000

#: Of an array that is asked for. Four times the largest input of the published image models.
MAX_OUTPUT_SIDE = 4096


class Decoder(Model):
    """Files to arrays.

    Input `file`: uint8 (n,), one encoded image. Parameters of the example:
    `{"transforms": [{"height": 224, "width": 224, "resize": "crop"}, ...]}`, may be empty.
    Answer: `width` and `height` of the original, upright; `format` (JPEG, PNG, WEBP, GIF);
    `images`, one (height, width, 3) uint8 RGB array per transform, in their order.
    Options: `max_pixels`, width times height above which a file is refused; `cpu_seconds`, for
    each MiB of it that was begun, after which the process ends by SIGPROF.
    """

    def load(self, context: LoadContext) -> None:
        max_pixels = context.options.get("max_pixels", DEFAULT_MAX_PIXELS)
        if type(max_pixels) is not int or max_pixels < 1:
            raise ValueError(f"option max_pixels is {max_pixels!r}, expected a positive integer")
        cpu_seconds = context.options.get("cpu_seconds", CPU_SECONDS)
        if type(cpu_seconds) not in (int, float) or not 0 < cpu_seconds < math.inf:
            raise ValueError(f"option cpu_seconds is {cpu_seconds!r}, expected a positive number")
        self._max_pixels = max_pixels
        self._cpu_seconds = float(cpu_seconds)
        self._limits = Limits(memory_allowed(max_pixels))

    def predict(self, batch: Batch) -> Sequence[Answer | InvalidInput]:
        answers = [
            self._answer(index, file, parameters)
            for index, (file, parameters) in enumerate(
                zip(batch["file"], batch.parameters, strict=True)
            )
        ]
        self._limits.rest()
        return answers

    def warmup(self, batch: Batch) -> None:
        """Zeros are no image: a small JPEG, made here, takes their place."""
        file = BytesIO()
        Image.new("RGB", (64, 48), "grey").save(file, "JPEG")
        example = np.frombuffer(file.getvalue(), np.uint8)
        transforms = [{"height": 16, "width": 16, "resize": mode.value} for mode in Resize]
        answer = self._answer(0, example, {"transforms": transforms})
        if isinstance(answer, InvalidInput):
            raise answer

    def _answer(
        self, index: int, file: npt.NDArray[np.uint8], parameters: Mapping[str, Any]
    ) -> Answer | InvalidInput:
        try:
            transforms = _transforms(parameters)
            picture = self._decoded(file.tobytes(), transforms)
        except DecodeError as refused:
            return InvalidInput(index, refused.detail, code=refused.code)
        except ValueError as error:
            return InvalidInput(index, str(error))
        return {
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "images": [render(picture, transform) for transform in transforms],
        }

    def _decoded(self, data: bytes, transforms: Sequence[Transform]) -> Picture:
        with self._limits.around(cpu_allowed(len(data), self._cpu_seconds)):
            return decode_image(
                data,
                max_pixels=self._max_pixels,
                transforms=transforms,
                cpu_seconds=self._cpu_seconds,
            )


def _transforms(parameters: Mapping[str, Any]) -> list[Transform]:
    """Raises ValueError, in words for the sender, if they are not as `Decoder` says."""
    wanted = parameters.get("transforms", [])
    if not isinstance(wanted, list):
        raise ValueError("transforms is not a list")
    return [_transform(one) for one in wanted]


def _transform(wanted: Any) -> Transform:
    if not isinstance(wanted, Mapping) or wanted.keys() != {"height", "width", "resize"}:
        raise ValueError("a transform has exactly the keys height, width and resize")
    return Transform(
        _side("height", wanted["height"]), _side("width", wanted["width"]), Resize(wanted["resize"])
    )


def _side(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_OUTPUT_SIDE:
        raise ValueError(f"{name} is {value!r}, expected an integer from 1 to {MAX_OUTPUT_SIDE}")
    return value
