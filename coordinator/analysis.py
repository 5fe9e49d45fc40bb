"""A request's path in one file: admit, decode, predict, merge.

Knows no HTTP and no JSON: handlers pass in what the head asked for and the
bytes of the photos, and write out what comes back. Places are taken before the
photos are read (`admit`) and given back however the request ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from coordinator.errors import (
    DemitasseError,
    InvalidInput,
    InvalidOutput,
    InvalidParameter,
    ModelError,
    PredictTimeout,
    UnknownModel,
    WorkerCrashed,
)
from coordinator.fleet import Fleet, Prediction, Ticket
from coordinator.merge import (
    Outcome,
    milliseconds,
    model_entry,
    naming,
    refuse_if_nothing,
    refuse_if_required,
)
from coordinator.metrics import count_answer
from coordinator.router import ModelRef, resolve
from model_registry.manifest import ImageInput
from model_registry.snapshot import Snapshot, Version
from wire.tensor import Buffer, Tensor

T = TypeVar("T")

#: The image tier's minion, as it is listed among the replicas.
DECODER = "decoder"
DECODER_VERSION = "1.0.0"
DECODER_INPUT = "file"
#: Its words for a photo that costs too much, and for one that cannot be decoded.
TOO_COSTLY = "image-too-costly"
DAMAGED = "image-damaged"

#: A place at a model, or why there is none.
Seat = Ticket | DemitasseError


class Registry(Protocol):
    """Where the snapshot of models comes from."""

    def current(self) -> Snapshot: ...


class NamedPhoto(Protocol):
    @property
    def name(self) -> str | None: ...

    @property
    def data(self) -> Buffer: ...


class Asked(NamedTuple):
    """What a request is about, settled before its body is read."""

    versions: Mapping[str, Version]
    """By the name that each has in the answer; see `answer_names`."""
    require: Sequence[str]
    """Names in the answer of those without whom it is worthless."""
    deadline: float
    """On the monotonic clock."""
    started: float


class Seats(NamedTuple):
    """Places for one photo: at the decoder, and by name in the answer at each model."""

    decoder: Ticket
    models: Mapping[str, Seat]


class Transform(NamedTuple):
    """What the image tier should hand over."""

    height: int
    width: int
    resize: str

    @classmethod
    def of(cls, image: ImageInput) -> Transform:
        return cls(image.height, image.width, image.resize)


class Decoded(NamedTuple):
    width: int
    height: int
    format: str
    pixels: Mapping[Transform, Tensor]

    def inputs_of(self, version: Version) -> dict[str, Tensor]:
        """What this version takes, all of it made from the photo."""
        return {
            image.name: self.pixels[Transform.of(image)] for image in version.manifest.image_inputs
        }


class Admission(NamedTuple):
    """A request that was let in: its first photo's places, and the stack that frees them all."""

    asked: Asked
    first: Seats
    places: ExitStack


class Analysis:
    """Runs photos through the decoder and the models."""

    def __init__(self, fleet: Fleet, registry: Registry) -> None:
        self._fleet = fleet
        self._registry = registry

    def resolve(self, refs: Sequence[ModelRef]) -> dict[str, Version]:
        """The versions that are asked for; without any, those marked for `/analyze`.

        Raises:
            NotFound: one of them does not exist, or none is marked.
            InvalidParameter: one of them cannot work with a photo alone.
        """
        if not refs:
            marked = self.marked()
            if not marked:
                raise UnknownModel("no model is marked for /analyze; name some in `models`")
            return marked
        snapshot = self._registry.current()
        versions = [resolve(snapshot, ref) for ref in refs]
        for version in versions:
            _refuse_unless_it_takes_photos(version)
        return dict(zip(answer_names(refs), versions, strict=True))

    def marked(self) -> dict[str, Version]:
        """The default versions of the models that are part of `/analyze` without being named."""
        defaults = {
            name: entry.versions[entry.default]
            for name, entry in self._registry.current().models.items()
            if entry.default is not None
        }
        return {name: each for name, each in defaults.items() if each.manifest.analyze}

    def decoder_ready(self) -> bool:
        return self._fleet.ready(DECODER, DECODER_VERSION)

    @contextmanager
    def admit(
        self, refs: Sequence[ModelRef], require: Sequence[str], timeout_seconds: float
    ) -> Iterator[Admission]:
        """Takes a place at the decoder and at every model; gives all places back at the end.

        Raises:
            NotFound, InvalidParameter: as `resolve`, or `require` names a model that is not asked.
            Overloaded: no place at the decoder, at a required model, or at any model at all.
        """
        started = time.monotonic()
        versions = self.resolve(refs)
        required = _required(versions, require)
        asked = Asked(versions, required, started + timeout_seconds, started)
        with ExitStack() as places:
            yield Admission(asked, self._seats(asked, places), places)

    async def run(self, admission: Admission, photos: Sequence[NamedPhoto]) -> dict[str, Any]:
        """One answer for all photos.

        Raises:
            DemitasseError: of a required model, or where there is nothing but errors.
        """
        asked = admission.asked
        read = time.monotonic()
        seats = [admission.first, *(self._more_seats(admission) for _ in photos[1:])]
        parts = await _together(
            self._one(asked, places, photo) for places, photo in zip(seats, photos, strict=True)
        )
        if not any("models" in part for part in parts):
            raise parts[0]["error"]
        finished = time.monotonic()
        return {
            "images": parts,
            "timeline_ms": {
                "read": milliseconds(read - asked.started),
                "total": milliseconds(finished - asked.started),
            },
        }

    async def infer(
        self,
        ticket: Ticket,
        inputs: Mapping[str, Tensor],
        parameters: Mapping[str, Any],
        deadline: float,
    ) -> Prediction:
        """One model's answer to its own inputs, before the deadline.

        Raises:
            DemitasseError: as the model or its host says, or the deadline passed.
        """
        place = ticket.place
        try:
            prediction = await ticket.predict(inputs, parameters, deadline)
        except DemitasseError as error:
            count_answer(place.model, place.version, error.code)
            raise
        count_answer(place.model, place.version, "ok")
        return prediction

    def reserve(self, version: Version) -> Ticket:
        """A place at one replica of this version. Raises Overloaded."""
        return self._fleet.reserve(version.model, version.version)

    def reserve_decoder(self) -> Ticket:
        """A place at the image tier. Raises Overloaded."""
        return self._fleet.reserve(DECODER, DECODER_VERSION)

    def _seats(self, asked: Asked, places: ExitStack) -> Seats:
        """Places for one photo. Raises Overloaded where too few are left to be of use."""
        decoder = self._seat(DECODER, DECODER_VERSION, places)
        if isinstance(decoder, DemitasseError):
            raise naming(decoder, DECODER)
        models = {
            name: self._seat(version.model, version.version, places)
            for name, version in asked.versions.items()
        }
        refuse_if_required(models, asked.require)
        refuse_if_nothing(models)
        return Seats(decoder, models)

    def _more_seats(self, admission: Admission) -> Seats | DemitasseError:
        """Places for one photo more; a lack of them is that photo's own error."""
        with ExitStack() as places:
            try:
                seats = self._seats(admission.asked, places)
            except DemitasseError as error:
                return error
            admission.places.enter_context(places.pop_all())
            return seats

    def _seat(self, model: str, version: str, places: ExitStack) -> Seat:
        try:
            return places.enter_context(self._fleet.reserve(model, version))
        except DemitasseError as error:
            return error

    async def _one(
        self, asked: Asked, seats: Seats | DemitasseError, photo: NamedPhoto
    ) -> dict[str, Any]:
        """One photo's part of the answer; an error in its place where there is nothing else."""
        if isinstance(seats, DemitasseError):
            return {"name": photo.name, "error": seats}
        try:
            return await self._answer(asked, seats, photo)
        except DemitasseError as error:
            return {"name": photo.name, "error": error}

    async def _answer(self, asked: Asked, seats: Seats, photo: NamedPhoto) -> dict[str, Any]:
        started = time.monotonic()
        decoded = await self.decode(
            seats.decoder, photo.data, asked.versions.values(), asked.deadline
        )
        seats.decoder.close()
        between = time.monotonic()
        outcomes = await self._predict_all(asked, seats, decoded)
        refuse_if_required(outcomes, asked.require)
        refuse_if_nothing(outcomes)
        return {
            "name": photo.name,
            "width": decoded.width,
            "height": decoded.height,
            "format": decoded.format,
            "models": {
                name: model_entry(version.version, outcomes[name])
                for name, version in asked.versions.items()
            },
            "timeline_ms": {
                "decode": milliseconds(between - started),
                "predict": milliseconds(time.monotonic() - between),
            },
        }

    async def decode(
        self, ticket: Ticket, file: Buffer, versions: Iterable[Version], deadline: float
    ) -> Decoded:
        """The photo's pixels, once in every form that one of these versions wants.

        Raises:
            InvalidInput: the decoder's word for what is wrong with the file. One that
                kills it, or is never done, is no fault of ours either: it is alone in
                its batch, and would do so again.
        """
        transforms = transforms_of(versions)
        inputs = {DECODER_INPUT: Tensor("uint8", (len(file),), file)}
        parameters = {"transforms": [transform._asdict() for transform in transforms]}
        try:
            prediction = await self.infer(ticket, inputs, parameters, deadline)
        except PredictTimeout as error:
            raise InvalidInput(
                "decoding it takes longer than a photo may", code=TOO_COSTLY
            ) from error
        except (ModelError, WorkerCrashed) as error:
            raise InvalidInput("decoding it failed", code=DAMAGED) from error
        try:
            return _decoded(transforms, **prediction.output)
        except (TypeError, ValueError) as error:
            raise InvalidOutput("the image tier's answer cannot be read") from error

    async def _predict_all(
        self, asked: Asked, seats: Seats, decoded: Decoded
    ) -> dict[str, Outcome]:
        outcomes = await _together(
            self._predict(version, seats.models[name], decoded, asked.deadline)
            for name, version in asked.versions.items()
        )
        return dict(zip(asked.versions, outcomes, strict=True))

    async def _predict(
        self, version: Version, seat: Seat, decoded: Decoded, deadline: float
    ) -> Outcome:
        if not isinstance(seat, Ticket):
            return seat
        try:
            with seat:
                return await self.infer(seat, decoded.inputs_of(version), {}, deadline)
        except DemitasseError as error:
            return error


def transforms_of(versions: Iterable[Version]) -> list[Transform]:
    """Every transform that these versions need, each once, in order."""
    return list(
        dict.fromkeys(
            Transform.of(image) for version in versions for image in version.manifest.image_inputs
        )
    )


def answer_names(refs: Sequence[ModelRef]) -> list[str]:
    """What each model is called in the answer: its name, so that a caller who pins a
    version reads the same key as one who does not. Asked for twice, it goes by the
    references as they were written."""
    counts = Counter(ref.name for ref in refs)
    return [ref.name if counts[ref.name] == 1 else str(ref) for ref in refs]


def _decoded(
    transforms: Sequence[Transform],
    *,
    width: int,
    height: int,
    format: str,
    images: Sequence[Tensor],
) -> Decoded:
    """The decoder's answer, its images by what was asked for. Raises TypeError, ValueError."""
    return Decoded(width, height, format, dict(zip(transforms, images, strict=True)))


def _required(versions: Mapping[str, Version], require: Sequence[str]) -> list[str]:
    """Names in the answer of those that `require` names. A model that is not asked is refused:
    left out of sight, its absence would look like its answer."""
    if not require:
        return []
    asked = {version.model for version in versions.values()}
    for name in require:
        if name not in asked:
            raise InvalidParameter(
                f"require names {name!r}, which is not asked; there are {', '.join(sorted(asked))}",
                field="require",
            )
    return [name for name, version in versions.items() if version.model in require]


def _refuse_unless_it_takes_photos(version: Version) -> None:
    if not version.manifest.takes_photo:
        raise InvalidParameter(
            f"{version.model} {version.version} takes more than a photo, or none; "
            f"ask it at /models/{version.model}/infer",
            field="models",
        )


async def _together(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. Where one fails by a fault of ours, none is left running."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]
    return [task.result() for task in tasks]
