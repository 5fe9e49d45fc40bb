"""One photo through the image tier and the models, no more often than is needed.

A model that was asked about these bytes before is not asked again while its
answer is remembered; one that is being asked by another request is waited for.
What is left is computed in flights, each with a place of its own, and one decode
serves all that a request needs. Places that were taken before it was known what
the photo is are given back as soon as it is.

Knows no HTTP; `analysis` admits requests and puts the answers together.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from coordinator.cache import PHOTO, Entry, Key, PhotoFacts, key_of
from coordinator.decoder import (
    DECODER,
    DECODER_VERSION,
    Decoded,
    Transforms,
    decode,
    predict,
    transforms_of,
)
from coordinator.digests import DIGEST_BYTES, digest_of
from coordinator.errors import DeadlineExceeded, DemitasseError
from coordinator.flights import Flights, Wait, is_misfortune, settled
from coordinator.merge import (
    Cached,
    Outcome,
    Shared,
    is_enough,
    naming,
    refuse_if_nothing,
    refuse_if_required,
)
from coordinator.metrics import count_shared
from coordinator.results import Results
from coordinator.seats import Seats
from coordinator.ticket import Prediction
from coordinator.together import together
from model_registry.snapshot import Version
from wire.answers import unpack_answer
from wire.tensor import Buffer

#: What a photo comes to depends on who made its pixels, too.
_KIND = f"{PHOTO} {DECODER_VERSION}"


class Question(NamedTuple):
    """What is asked of one photo."""

    file: Buffer
    versions: Mapping[str, Version]
    """By name in the answer."""
    require: Sequence[str]
    """Names without whom the answer is worthless."""
    optional: Collection[str]
    """Names that are not waited for once all the others have answered."""
    deadline: float
    """On the monotonic clock."""


class Found(NamedTuple):
    """What was found out about one photo."""

    outcomes: Mapping[str, Outcome]
    facts: PhotoFacts
    decode_seconds: float
    """How long the pixels were waited for; 0 where none were needed."""


class _NotDecoded(NamedTuple):
    """Why no model could be asked: the photo's own error, and none of a model."""

    error: DemitasseError


class _Computed(NamedTuple):
    prediction: Prediction
    facts: PhotoFacts
    decoded_at: float


class _Answer(NamedTuple):
    """What one model comes to, for one request."""

    outcome: Outcome
    facts: PhotoFacts | None = None
    decoded_at: float = 0.0
    """When the pixels were there, on the monotonic clock; 0 where none were needed."""


_Landed = _Computed | Entry | _NotDecoded | DemitasseError


class _Photo(NamedTuple):
    """A photo, and all that its flights need to know of the request that begins them."""

    file: Buffer
    digest: bytes
    transforms: Transforms
    """Those of every model whose answer is not here: one decode will do for all of them."""
    seats: Seats
    deadline: float


class Photos:
    """Answers questions about photos."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._decoding: Flights[tuple[bytes, Transforms], Decoded | DemitasseError] = Flights()
        self._computing: Flights[Key, _Landed] = Flights()

    async def ask(self, question: Question, seats: Seats) -> Found:
        """What every model says of one photo. One that is late is `DeadlineExceeded`, and called
        off unless another request waits for it.

        While a photo is not a large one, nothing before the first wait gives up the turn of
        the loop: of many that come at once the first computes, and each of the others has
        given its places back before the next one's head is looked at.

        Args:
            seats: places that were taken already; what is lacking is taken here.

        Raises:
            DemitasseError: of the photo itself, of a required model, or of all models.
        """
        started = time.monotonic()
        versions = question.versions
        digest = await digest_of(question.file) if self._results.on else os.urandom(DIGEST_BYTES)
        keys = {name: _key(each, digest) for name, each in versions.items()}
        known = self._remembered(versions, keys, seats, started)
        asked = {name: each for name, each in versions.items() if name not in known}
        refused = self._without_place(asked, keys, seats)
        refuse_if_required(refused, question.require)
        if len(refused) == len(versions):
            refuse_if_nothing(refused)
        photo = _Photo(
            question.file, digest, transforms_of(asked.values()), seats, question.deadline
        )
        waiting = {name: each for name, each in asked.items() if name not in refused}
        there = {**refused, **{name: answer.outcome for name, answer in known.items()}}
        enough = partial(_is_enough, question, there)
        computed = await self._computed(waiting, keys, photo, started, enough)
        answers = {**known, **computed}
        late = {name: DeadlineExceeded() for name in waiting.keys() - computed.keys()}
        outcomes = {**refused, **late, **{n: answer.outcome for n, answer in answers.items()}}
        refuse_if_required(outcomes, question.require)
        refuse_if_nothing(outcomes)
        decoded_at = max(answer.decoded_at for answer in answers.values())
        return Found(
            outcomes,
            next(answer.facts for answer in answers.values() if answer.facts is not None),
            max(decoded_at - started, 0.0),
        )

    def _remembered(
        self,
        versions: Mapping[str, Version],
        keys: Mapping[str, Key],
        seats: Seats,
        started: float,
    ) -> dict[str, _Answer]:
        answers = {}
        for name, version in versions.items():
            entry = self._results.lookup(version, keys[name])
            if entry is not None and entry.photo is not None:
                seats.give_back(name)
                answers[name] = _remembered(entry, started)
        return answers

    def _without_place(
        self, asked: Mapping[str, Version], keys: Mapping[str, Key], seats: Seats
    ) -> dict[str, DemitasseError]:
        """Why models cannot be asked that nobody is asking yet. Those others ask need no place."""
        refused: dict[str, DemitasseError] = {}
        computing = 0
        for name, version in asked.items():
            if self._computing.find(keys[name]) is not None:
                continue
            error = seats.reserve(name, version.model, version.version)
            if error is None:
                computing += 1
            else:
                refused[name] = error
        if not computing:
            seats.give_back(DECODER)
        return refused

    async def _computed(
        self,
        asked: Mapping[str, Version],
        keys: Mapping[str, Key],
        photo: _Photo,
        started: float,
        enough: Callable[[Mapping[str, _Answer | _NotDecoded]], bool],
    ) -> dict[str, _Answer]:
        """The answers that were not here, as far as they are waited for.

        Raises:
            DemitasseError: the photo's own.
        """
        if enough({}):
            return {}
        with ExitStack() as leaving:
            # All of them before the first is waited for: what lands meanwhile is no longer there.
            waits = {
                name: leaving.enter_context(self._wait(name, version, keys[name], photo))
                for name, version in asked.items()
            }
            parts = {
                name: self._settled(wait, name, asked[name], keys[name], photo, started)
                for name, wait in waits.items()
            }
            landed = await together(parts, enough)
        for each in landed.values():
            if isinstance(each, _NotDecoded):
                raise _refused(each.error, time.monotonic() - started)
        return {name: each for name, each in landed.items() if not isinstance(each, _NotDecoded)}

    def _wait(self, name: str, version: Version, key: Key, photo: _Photo) -> Wait[_Landed]:
        compute = partial(self._compute, name, version, key, photo)
        wait = self._computing.wait(key, compute, photo.deadline)
        if not wait.leads:
            count_shared(version.model, version.version)
            photo.seats.give_back(name)
        return wait

    async def _settled(
        self,
        wait: Wait[_Landed],
        name: str,
        version: Version,
        key: Key,
        photo: _Photo,
        started: float,
    ) -> _Answer | _NotDecoded:
        again = partial(self._wait, name, version, key, photo)
        try:
            landed, own = await settled(wait, again, _is_misfortune)
        except DeadlineExceeded as error:
            return _Answer(error)
        if isinstance(landed, _NotDecoded):
            late = isinstance(landed.error, DeadlineExceeded)  # no reason to lose the others
            return _Answer(landed.error) if late else landed
        if isinstance(landed, Entry):
            return _remembered(landed, started)
        if isinstance(landed, DemitasseError):
            return _Answer(landed)
        prediction, facts, decoded_at = landed
        if own:
            return _Answer(prediction, facts, decoded_at)
        return _Answer(Shared(prediction, time.monotonic() - started), facts, decoded_at)

    async def _compute(self, name: str, version: Version, key: Key, photo: _Photo) -> _Landed:
        """One model's answer; looked for where coordinators share what they remember, first."""
        try:
            with photo.seats.take_over(name, version.model, version.version) as ticket:
                entry = await self._results.ask_others(version, key)
                if entry is not None and entry.photo is not None:
                    return entry
                decoded = await self._decoded(photo)
                if isinstance(decoded, DemitasseError):
                    return _NotDecoded(decoded)
                inputs = decoded.inputs_of(version)
                decoded_at = time.monotonic()
                prediction = await predict(ticket, inputs, {}, photo.deadline)
        except DemitasseError as error:
            return error
        self._results.store(version, key, prediction, decoded.facts)
        return _Computed(prediction, decoded.facts, decoded_at)

    async def _decoded(self, photo: _Photo) -> Decoded | DemitasseError:
        def wait() -> Wait[Decoded | DemitasseError]:
            key = photo.digest, photo.transforms
            return self._decoding.wait(key, partial(self._decode, photo), photo.deadline)

        try:
            decoded, _ = await settled(wait(), wait, is_misfortune)
        except DeadlineExceeded as error:
            return error
        return decoded

    async def _decode(self, photo: _Photo) -> Decoded | DemitasseError:
        try:
            ticket = photo.seats.take_over(DECODER, DECODER, DECODER_VERSION)
        except DemitasseError as error:
            return naming(error, DECODER)
        try:
            with ticket:
                return await decode(ticket, photo.file, photo.transforms, photo.deadline)
        except DemitasseError as error:
            return error


def _refused(error: DemitasseError, decode_seconds: float) -> DemitasseError:
    """The photo's own error, to be raised: a copy, since others raise the same one.

    Whoever raises it gives it no name: it and its traceback would hold each other, and the photo.
    """
    own = copy.copy(error)
    own.decode_seconds = decode_seconds
    return own


def _key(version: Version, digest: bytes) -> Key:
    """Of a version that is not pure a photo is another one each time it comes."""
    input_digest = digest if version.manifest.pure else os.urandom(DIGEST_BYTES)
    return key_of(version.digest, _KIND, input_digest)


def _is_enough(
    question: Question,
    there: Mapping[str, object],
    landed: Mapping[str, _Answer | _NotDecoded],
) -> bool:
    if any(isinstance(each, _NotDecoded) for each in landed.values()):
        return True
    outcomes = {n: each.outcome for n, each in landed.items() if isinstance(each, _Answer)}
    return is_enough({**there, **outcomes}, question.versions, question.require, question.optional)


def _remembered(entry: Entry, started: float) -> _Answer:
    output = unpack_answer(entry.answer)
    return _Answer(Cached(entry, output, time.monotonic() - started), entry.photo)


def _is_misfortune(landed: _Landed) -> bool:
    return is_misfortune(landed.error if isinstance(landed, _NotDecoded) else landed)
