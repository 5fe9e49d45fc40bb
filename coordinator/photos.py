"""One photo through the image tier and the models, no more often than is needed.

One decode serves all that the models need which are asked about it, for however many
requests. Which of them need not be asked is for `predictions` to say, and places that
were taken before it was known what the photo is are given back as soon as it is.

Knows no HTTP; `analysis` admits requests and puts the answers together.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, TypeGuard

from coordinator.cache import PHOTO, Key, PhotoFacts, key_of
from coordinator.decoder import (
    DECODER,
    DECODER_VERSION,
    Decoded,
    Transforms,
    decode,
    transforms_of,
)
from coordinator.digests import DIGEST_BYTES, digest_of
from coordinator.errors import DeadlineExceeded, DemitasseError
from coordinator.flights import Flights, Wait, is_misfortune, settled
from coordinator.merge import Outcome, is_enough, naming, refuse_if_nothing, refuse_if_required
from coordinator.predictions import Answer, Asked, Predicted, Predictions
from coordinator.results import Results
from coordinator.seats import Seats
from coordinator.ticket import Ticket
from coordinator.together import together
from model_registry.snapshot import Version
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
        self._predictions = Predictions(results, of_photos=True)

    async def ask(self, question: Question, seats: Seats) -> Found:
        """What every model says of one photo. One that is late is `DeadlineExceeded`, and called
        off unless another request waits for it.

        While a photo is not a large one, nothing before the first wait gives up the turn of
        the loop: of many that come at once the first is predicted, and each of the others has
        given its places back before the next one's head is looked at.

        Args:
            seats: places that were taken already; what is lacking is taken here.

        Raises:
            DemitasseError: of the photo itself, of a required model, or of all models.
        """
        started = time.monotonic()
        file, versions, deadline = question.file, question.versions, question.deadline
        digest = await digest_of(file) if self._results.on else os.urandom(DIGEST_BYTES)
        every = {
            name: Asked(name, version, _key(version, digest), seats, deadline, started)
            for name, version in versions.items()
        }
        known = self._remembered(every)
        unknown = {name: each for name, each in every.items() if name not in known}
        refused = self._without_place(unknown, seats)
        refuse_if_required(refused, question.require)
        if len(refused) == len(versions):
            refuse_if_nothing(refused)
        transforms = transforms_of(each.version for each in unknown.values())
        photo = _Photo(file, digest, transforms, seats, deadline)
        waiting = {name: each for name, each in unknown.items() if name not in refused}
        there = {**refused, **{name: answer.outcome for name, answer in known.items()}}
        predicted = await self._predicted(waiting, photo, partial(_is_enough, question, there))
        _refuse_if_of_photo(predicted.values(), started)
        answers = {**known, **predicted}
        late = {name: DeadlineExceeded() for name in waiting.keys() - predicted.keys()}
        outcomes = {**refused, **late, **{n: answer.outcome for n, answer in answers.items()}}
        decoded_at = max((answer.decoded_at for answer in answers.values()), default=0.0)
        decode_seconds = max(decoded_at - started, 0.0)
        try:
            refuse_if_required(outcomes, question.require)
            refuse_if_nothing(outcomes)
        except DemitasseError as error:
            error.decode_seconds = decode_seconds
            raise
        facts = next(answer.facts for answer in answers.values() if answer.facts is not None)
        return Found(outcomes, facts, decode_seconds)

    def _remembered(self, asked: Mapping[str, Asked]) -> dict[str, Answer]:
        answers = {name: self._predictions.remembered(each) for name, each in asked.items()}
        return {name: answer for name, answer in answers.items() if answer is not None}

    def _without_place(self, asked: Mapping[str, Asked], seats: Seats) -> dict[str, DemitasseError]:
        """Why models cannot be asked that nobody is asking yet. Those others ask need no place."""
        refused: dict[str, DemitasseError] = {}
        computing = 0
        for name, each in asked.items():
            if self._predictions.is_under_way(each.key):
                continue
            error = seats.reserve(name, each.version.model, each.version.version)
            if error is None:
                computing += 1
            else:
                refused[name] = error
        if not computing:
            seats.give_back(DECODER)
        return refused

    async def _predicted(
        self,
        asked: Mapping[str, Asked],
        photo: _Photo,
        enough: Callable[[Mapping[str, Answer]], bool],
    ) -> dict[str, Answer]:
        """The answers that were not here, as far as they are waited for."""
        if enough({}):
            return {}
        with ExitStack() as leaving:
            predict = partial(self._predict, photo)
            # All of them before the first is waited for: what lands meanwhile is no longer there.
            waits = {
                name: leaving.enter_context(self._predictions.wait(each, predict))
                for name, each in asked.items()
            }
            parts = {
                name: self._predictions.answer(each, predict, waits[name])
                for name, each in asked.items()
            }
            return await together(parts, enough)

    async def _predict(self, photo: _Photo, version: Version, ticket: Ticket) -> Predicted:
        decoded = await self._decoded(photo)
        if isinstance(decoded, DemitasseError):
            raise _of_photo(decoded)
        inputs, decoded_at = decoded.inputs_of(version), time.monotonic()
        try:
            prediction = await ticket.predict(inputs, {}, photo.deadline)
        except DemitasseError as error:
            error.decoded_at = decoded_at
            raise
        return Predicted(prediction, decoded.facts, decoded_at)

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


def _key(version: Version, digest: bytes) -> Key:
    """Of a version that is not pure a photo is another one each time it comes."""
    input_digest = digest if version.manifest.pure else os.urandom(DIGEST_BYTES)
    return key_of(version.digest, _KIND, input_digest)


def _of_photo(error: DemitasseError) -> DemitasseError:
    """The image tier's error, to be raised for one model: a copy, since others raise the same.

    One that came too late says nothing about the photo: no reason to lose the others.
    """
    own = copy.copy(error)
    own.of_photo = not isinstance(error, DeadlineExceeded)
    return own


def _refuse_if_of_photo(answers: Iterable[Answer], started: float) -> None:
    """Raises the photo's own error."""
    for each in answers:
        if _is_of_photo(each.outcome):
            raise _waited_for(each.outcome, time.monotonic() - started)


def _waited_for(error: DemitasseError, decode_seconds: float) -> DemitasseError:
    """A copy, to be raised: others raise the same one.

    Whoever raises it gives it no name: it and its traceback would hold each other, and the photo.
    """
    own = copy.copy(error)
    own.decode_seconds = decode_seconds
    return own


def _is_of_photo(outcome: Outcome) -> TypeGuard[DemitasseError]:
    return isinstance(outcome, DemitasseError) and outcome.of_photo


def _is_enough(
    question: Question, there: Mapping[str, object], landed: Mapping[str, Answer]
) -> bool:
    outcomes = {name: answer.outcome for name, answer in landed.items()}
    if any(_is_of_photo(outcome) for outcome in outcomes.values()):
        return True
    return is_enough({**there, **outcomes}, question.versions, question.require, question.optional)
