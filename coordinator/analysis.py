"""A request's path in one file: admit, ask, merge.

Knows no HTTP and no JSON: handlers pass in what the head asked for and the
bytes of the photos, and write out what comes back. Places are taken before the
photos are read (`admit`) and given back however the request ends; `photos` says
what becomes of one photo.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from coordinator.arrivals import refused
from coordinator.decoder import DECODER, DECODER_VERSION
from coordinator.errors import DemitasseError, InvalidParameter, UnknownModel
from coordinator.examples import Example, Examples
from coordinator.explanations import part_of
from coordinator.fleet import Fleet
from coordinator.merge import (
    Outcome,
    is_pending,
    milliseconds,
    model_entry,
    naming,
    refuse_if_nothing,
    refuse_if_required,
)
from coordinator.metrics import count_pending
from coordinator.photos import Photos, Question
from coordinator.records import Photo
from coordinator.results import Results
from coordinator.router import ModelRef, resolve
from coordinator.seats import NO_ROOM, Seats
from coordinator.ticket import Ticket
from coordinator.together import together
from model_registry.snapshot import Snapshot, Version
from wire.flows import Flow
from wire.quoting import quoted
from wire.tensor import Buffer

#: What an answer needs from its last part to the caller's hands, and at most this share of the
#: timeout: a tight one would leave no time for the models.
WRITING_SECONDS = 0.01
WRITING_SHARE = 0.05


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
    optional: Collection[str]
    """Names in the answer of those that are not waited for once all the others have answered."""
    flow: Flow
    """Whose turn it counts against."""
    deadline: float
    """When nothing is waited for any more, on the monotonic clock: soon enough to be written
    before the caller's own."""
    started: float


class Admission(NamedTuple):
    """A request that was let in, with the places of its first photo."""

    asked: Asked
    seats: Seats
    photos: list[Photo]
    """For its record: how the answers to those came about that are done."""


class Analysis:
    """Runs photos through the decoder and the models."""

    def __init__(self, fleet: Fleet, registry: Registry, results: Results) -> None:
        self._fleet = fleet
        self._registry = registry
        self._results = results
        self._photos = Photos(results)
        self._examples = Examples(results)

    def resolve(self, refs: Sequence[ModelRef]) -> dict[str, Version]:
        """The versions that are asked for; without any, those marked for `/analyze`.

        Raises:
            NotFound: one of them does not exist, or none is marked.
            InvalidParameter: one of them cannot work with a photo alone.
        """
        if not refs:
            marked = self.marked()
            if not marked:
                raise UnknownModel(
                    "no model that is served is marked for /analyze; name some in `models`"
                )
            return marked
        snapshot = self._registry.current()
        versions = [resolve(snapshot, ref) for ref in refs]
        for version in versions:
            _refuse_unless_it_takes_photos(version)
        return dict(zip(answer_names(refs), versions, strict=True))

    def marked(self) -> dict[str, Version]:
        """The default versions of the models that are part of `/analyze` without being named:
        those of them that are served."""
        defaults = {
            name: entry.versions[entry.default]
            for name, entry in self._registry.current().models.items()
            if entry.default is not None
        }
        return {
            name: each for name, each in defaults.items() if each.serving and each.manifest.analyze
        }

    def decoder_ready(self) -> bool:
        return self._fleet.ready(DECODER, DECODER_VERSION)

    @contextmanager
    def admit(
        self,
        refs: Sequence[ModelRef],
        timeout_seconds: float,
        flow: Flow,
        *,
        require: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> Iterator[Admission]:
        """Takes a place at the decoder and at every model; gives all back that are left at the end.

        Raises:
            NotFound, InvalidParameter: as `resolve`; `require` or `optional` names a model that
                is not asked, or both name the same.
            Overloaded: no place at the decoder, at a required model, or at any model at all.
        """
        started = time.monotonic()
        versions = self.resolve(refs)
        required = _asked_names(versions, require, "require")
        unneeded = _asked_names(versions, optional, "optional")
        _refuse_if_both(require, optional)
        deadline = started + timeout_seconds - _writing_seconds(timeout_seconds)
        asked = Asked(versions, required, unneeded, flow, deadline, started)
        with self._seated(versions, required, flow, deadline) as seats:
            yield Admission(asked, seats, [])

    async def run(self, admission: Admission, photos: Sequence[NamedPhoto]) -> dict[str, Any]:
        """One answer for all photos.

        Raises:
            DemitasseError: of a required model, or where no model has answered.
        """
        asked = admission.asked
        read = time.monotonic()
        seats = [admission.seats, *(Seats(self._fleet, asked.flow) for _ in photos[1:])]
        ones = (self._one(admission, *each) for each in zip(seats, photos, strict=True))
        parts = list((await together(dict(enumerate(ones)))).values())
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

    @contextmanager
    def admit_photo(self, version: Version, flow: Flow, deadline: float) -> Iterator[Seats]:
        """A place at the decoder and at one model, for a photo that is for this model alone.

        Raises:
            Overloaded: there is none, or the answer would come too late.
        """
        with self._seated({version.model: version}, [version.model], flow, deadline) as seats:
            yield seats

    async def infer_photo(
        self, seats: Seats, version: Version, photo: Buffer, deadline: float
    ) -> tuple[Outcome, float]:
        """One model's answer to a photo, before the deadline; how long its pixels were waited for.

        Raises:
            DemitasseError: of the decoder or the model, or the deadline passed.
        """
        name = version.model
        question = Question(photo, {name: version}, [name], (), deadline)
        found = await self._photos.ask(question, seats)
        return found.outcomes[name], found.decode_seconds

    def remembers(self, version: Version) -> bool:
        """Whether what it says may be answered from memory; else `reserve` is all it needs."""
        return self._results.keeps(version)

    @contextmanager
    def admit_example(self, version: Version, flow: Flow, deadline: float) -> Iterator[Seats]:
        """A place at one model, for an example of its own inputs. Raises Overloaded."""
        with Seats(self._fleet, flow) as seats:
            error = seats.reserve(version.model, version.model, version.version, deadline)
            if error is not None:
                raise error
            yield seats

    async def infer(
        self, seats: Seats, version: Version, example: Example, deadline: float
    ) -> Outcome:
        """One model's answer to its own inputs, before the deadline.

        Raises:
            DemitasseError: as the model or its host says, or the deadline passed.
        """
        return await self._examples.ask(seats, version, example, deadline)

    def reserve(self, version: Version, flow: Flow, deadline: float) -> Ticket:
        """A place at one replica of this version, without a detour. Raises Overloaded."""
        try:
            return self._fleet.reserve(version.model, version.version, flow, deadline)
        except NO_ROOM:
            self._fleet.note(refused(version.model, version.version, flow, deadline))
            raise

    @contextmanager
    def _seated(
        self,
        versions: Mapping[str, Version],
        require: Sequence[str],
        flow: Flow,
        deadline: float,
    ) -> Iterator[Seats]:
        """Places for one photo. Raises Overloaded where too few are left to be of use.

        Who is not required is asked though it may come too late: the others do not wait.
        """
        with Seats(self._fleet, flow) as seats:
            error = seats.reserve(DECODER, DECODER, DECODER_VERSION)
            if error is not None:
                raise naming(error, DECODER)
            refused: dict[str, DemitasseError] = {}
            for name, version in versions.items():
                by = deadline if name in require else None
                error = seats.reserve(name, version.model, version.version, by)
                if error is not None:
                    refused[name] = error
            refuse_if_required(refused, require)
            if len(refused) == len(versions):
                refuse_if_nothing(refused)
            yield seats

    async def _one(self, admission: Admission, seats: Seats, photo: NamedPhoto) -> dict[str, Any]:
        """One photo's part of the answer; an error in its place where there is nothing else."""
        started = time.monotonic()
        try:
            with seats:
                return await self._answer(admission, seats, photo)
        except DemitasseError as error:
            part = part_of(str(error.members.get("model", DECODER)), "", error)
            seconds = time.monotonic() - started
            admission.photos.append(Photo(photo.name, error.decode_seconds, seconds, [part]))
            return {"name": photo.name, "error": error}

    async def _answer(
        self, admission: Admission, seats: Seats, photo: NamedPhoto
    ) -> dict[str, Any]:
        started = time.monotonic()
        asked = admission.asked
        question = Question(
            photo.data, asked.versions, asked.require, asked.optional, asked.deadline
        )
        found = await self._photos.ask(question, seats)
        for name, version in asked.versions.items():
            if is_pending(found.outcomes[name]):
                count_pending(version.model, version.version)
        seconds = time.monotonic() - started
        parts = [
            part_of(name, version.version, found.outcomes[name])
            for name, version in asked.versions.items()
        ]
        admission.photos.append(Photo(photo.name, found.decode_seconds, seconds, parts))
        return {
            "name": photo.name,
            **found.facts._asdict(),
            "models": {
                name: model_entry(version.version, found.outcomes[name])
                for name, version in asked.versions.items()
            },
            "timeline_ms": {
                "decode": milliseconds(found.decode_seconds),
                "predict": milliseconds(seconds - found.decode_seconds),
            },
        }


def answer_names(refs: Sequence[ModelRef]) -> list[str]:
    """What each model is called in the answer: its name, so that a caller who pins a
    version reads the same key as one who does not. Asked for twice, it goes by the
    references as they were written."""
    counts = Counter(ref.name for ref in refs)
    return [ref.name if counts[ref.name] == 1 else str(ref) for ref in refs]


def _asked_names(versions: Mapping[str, Version], models: Sequence[str], field: str) -> list[str]:
    """Names in the answer of those that a parameter names. A model that is not asked is refused:
    left out of sight, its absence would look like its answer."""
    if not models:
        return []
    asked = {version.model for version in versions.values()}
    for name in models:
        if name not in asked:
            raise InvalidParameter(
                f"{field} names {quoted(name)}, which is not asked; "
                f"there are {', '.join(sorted(asked))}",
                field=field,
            )
    return [name for name, version in versions.items() if version.model in models]


def _refuse_if_both(require: Sequence[str], optional: Sequence[str]) -> None:
    for name in require:
        if name in optional:
            raise InvalidParameter(
                f"{quoted(name)} cannot be required and optional at once", field="optional"
            )


def _writing_seconds(timeout_seconds: float) -> float:
    return min(WRITING_SECONDS, WRITING_SHARE * timeout_seconds)


def _refuse_unless_it_takes_photos(version: Version) -> None:
    if not version.manifest.takes_photo:
        raise InvalidParameter(
            f"{version.model} {version.version} takes more than a photo, or none; "
            f"ask it at /models/{version.model}/infer",
            field="models",
        )
