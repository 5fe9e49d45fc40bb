"""One photo through the image tier and the models, no more often than is needed.

One decode serves all that the models need which are asked about it, and every other
request that needs the same at that time. Which models need not be asked is for
`predictions` to say, and places that were taken before it was known what the photo is
are given back as soon as it is.

Knows no HTTP; `analysis` admits requests and puts the answers together.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

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
from coordinator.predictions import Call, Failed, Predicted, Predictions, Said
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
        self._predictions = Predictions(results, need_facts=True)

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
        versions, deadline = question.versions, question.deadline
        digest = await digest_of(question.file) if self._results.on else os.urandom(DIGEST_BYTES)
        keys = {name: _key(version, digest) for name, version in versions.items()}
        known = self._remembered(versions, keys, seats, started)
        unknown = {name: each for name, each in versions.items() if name not in known}
        refused = self._without_place(unknown, keys, seats)
        refuse_if_required(refused, question.require)
        if len(refused) == len(versions):
            refuse_if_nothing(refused)
        photo = _Photo(question.file, digest, transforms_of(unknown.values()), seats, deadline)
        calls = {
            name: Call(
                *(name, version, keys[name], seats),
                *(partial(self._predict, photo, version), deadline, started),
            )
            for name, version in unknown.items()
            if name not in refused
        }
        there = {**refused, **{name: each.outcome for name, each in known.items()}}
        said = {**known, **await self._said(calls, partial(_is_enough, question, there))}
        _refuse_if_of_photo(said.values(), started)
        late = {name: DeadlineExceeded() for name in calls.keys() - said.keys()}
        outcomes = {**refused, **late, **{name: each.outcome for name, each in said.items()}}
        decoded_at = max((each.decoded_at for each in said.values()), default=0.0)
        decode_seconds = max(decoded_at - started, 0.0)
        try:
            refuse_if_required(outcomes, question.require)
            refuse_if_nothing(outcomes)
        except DemitasseError as error:
            error.decode_seconds = decode_seconds
            raise
        facts = next(each.facts for each in said.values() if each.facts is not None)
        return Found(outcomes, facts, decode_seconds)

    def _remembered(
        self,
        versions: Mapping[str, Version],
        keys: Mapping[str, Key],
        seats: Seats,
        started: float,
    ) -> dict[str, Said]:
        known = {}
        for name, version in versions.items():
            said = self._predictions.remembered(version, keys[name], started)
            if said is not None:
                seats.give_back(name)
                known[name] = said
        return known

    def _without_place(
        self, asked: Mapping[str, Version], keys: Mapping[str, Key], seats: Seats
    ) -> dict[str, DemitasseError]:
        """Why models cannot be asked that nobody is asking yet. Those others ask need no place."""
        refused: dict[str, DemitasseError] = {}
        computing = 0
        for name, version in asked.items():
            if self._predictions.is_under_way(keys[name]):
                continue
            error = seats.reserve(name, version.model, version.version)
            if error is None:
                computing += 1
            else:
                refused[name] = error
        if not computing:
            seats.give_back(DECODER)
        return refused

    async def _said(
        self, calls: Mapping[str, Call], enough: Callable[[Mapping[str, Said]], bool]
    ) -> dict[str, Said]:
        """The answers that were not here, as far as they are waited for."""
        if enough({}):
            return {}
        with ExitStack() as leaving:
            # All of them before the first is waited for: what lands meanwhile is no longer there.
            waits = {
                name: leaving.enter_context(self._predictions.wait(call))
                for name, call in calls.items()
            }
            parts = {
                name: self._predictions.said(call, waits[name]) for name, call in calls.items()
            }
            return await together(parts, enough)

    async def _predict(self, photo: _Photo, version: Version, ticket: Ticket) -> Predicted | Failed:
        decoded = await self._decoded(photo)
        if isinstance(decoded, DemitasseError):
            # One that came too late says nothing about the photo: no reason to lose the others.
            return Failed(decoded, of_photo=not isinstance(decoded, DeadlineExceeded))
        inputs, decoded_at = decoded.inputs_of(version), time.monotonic()
        try:
            prediction = await ticket.predict(inputs, {}, photo.deadline)
        except DeadlineExceeded as error:  # as whoever is told so by his own wait, which knows less
            return Failed(error)
        except DemitasseError as error:
            return Failed(error, decoded_at)
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


def _refuse_if_of_photo(said: Iterable[Said], started: float) -> None:
    """Raises the photo's own error."""
    for each in said:
        if each.of_photo:
            assert isinstance(each.outcome, DemitasseError)
            raise _waited_for(each.outcome, time.monotonic() - started)


def _waited_for(error: DemitasseError, decode_seconds: float) -> DemitasseError:
    """A copy, to be raised: others raise the same one.

    Whoever raises it gives it no name: it and its traceback would hold each other, and the photo.
    """
    own = copy.copy(error)
    own.decode_seconds = decode_seconds
    return own


def _is_enough(question: Question, there: Mapping[str, object], said: Mapping[str, Said]) -> bool:
    if any(each.of_photo for each in said.values()):
        return True
    outcomes = {**there, **{name: each.outcome for name, each in said.items()}}
    return is_enough(outcomes, question.versions, question.require, question.optional)
