"""Everything that can go wrong with a request, as one tree.

DemitasseError
├── CallerError                      as it stands, this request will not succeed
│   ├── BadRequest
│   │   ├── EmptyBody                empty-body
│   │   ├── InvalidJson              invalid-json
│   │   ├── InvalidMsgpack           invalid-msgpack
│   │   ├── InvalidMultipart         invalid-multipart
│   │   ├── InvalidBase64            invalid-base64
│   │   ├── InvalidEncodedBody       invalid-encoded-body
│   │   ├── InvalidBody              invalid-body
│   │   └── InvalidParameter         invalid-parameter
│   ├── HeadTimeout                  head-timeout
│   ├── HeadTooLarge                 head-too-large
│   ├── Unauthenticated              unauthenticated
│   ├── ForeignOrigin                foreign-origin
│   ├── NotFound
│   │   ├── UnknownRoute             unknown-route
│   │   ├── UnknownModel             unknown-model
│   │   ├── UnknownVersion           unknown-version
│   │   ├── UnknownAlias             unknown-alias
│   │   ├── VersionNotServed         version-not-served
│   │   └── UnknownRequest           unknown-request
│   ├── MethodNotAllowed             method-not-allowed
│   ├── BodyTimeout                  body-timeout
│   ├── Conflict                     conflict
│   ├── PayloadTooLarge              payload-too-large
│   │   └── TooManyImages            too-many-images
│   ├── MisdirectedRequest           misdirected-request
│   ├── UnsupportedMediaType         unsupported-media-type
│   ├── UnsupportedContentEncoding   unsupported-content-encoding
│   ├── UnsupportedExpectation       unsupported-expectation
│   └── InvalidInput                 invalid-input, or the model's own code (image-damaged, ...)
│       ├── InputMismatch            input-mismatch
│       ├── MissingInput             missing-input
│       └── UnknownInput             unknown-input
├── Overloaded                       nothing is wrong with the request: send it again later
│   ├── QueueFull                    queue-full
│   ├── DeadlineUnmeetable           deadline-unmeetable
│   ├── NotServing                   not-serving
│   ├── TooManyConnections           too-many-connections
│   └── Draining                     draining
├── ModelFailure                     the model was asked, and it is this input that it fails on
│   ├── ModelError                   model-error
│   ├── InvalidOutput                invalid-output
│   ├── WorkerCrashed                worker-crashed
│   ├── PredictTimeout               predict-timeout
│   └── OutOfMemory                  out-of-memory
├── DeadlineExceeded                 deadline-exceeded
└── Internal                         internal-error

Each leaf has a stable `code`, a one-line docstring that is its default text,
and says whether sending the same request again can help. Status numbers are
not here: `http/replies` has the one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from wire.quoting import shortened

#: Characters. In JSON each takes 6 bytes at most, so that whatever a caller sent, and whoever
#: quotes it, a problem document is a few thousand bytes.
_MOST_DETAIL = 500
_MOST_FIELD = 200


class DemitasseError(Exception):
    """Something went wrong."""

    code: str = "error"
    title: ClassVar[str] = "Something went wrong."
    retryable: ClassVar[bool] = False
    reckoning: object = None
    """What a refusal was decided from, a named tuple: for its record, not for the caller."""
    decode_seconds: float = 0.0
    """How long the image tier was waited for, where that is known: for its record, likewise."""

    def __init_subclass__(cls) -> None:
        if cls.__doc__:
            cls.title = cls.__doc__.partition("\n")[0]

    def __init__(
        self,
        detail: str | None = None,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            detail: what happened this time; the class's own line where there is nothing to add.
                Of a long one the beginning is kept, as of a long field.
            field: which part of the request is at fault, such as `inputs.image` or `timeout`.
            retry_after: seconds after which trying again makes sense.
            members: more for programs, such as `available`; JSON values.
        """
        self.detail = shortened(detail or self.title, _MOST_DETAIL)
        super().__init__(self.detail)
        self.field = None if field is None else shortened(field, _MOST_FIELD)
        self.retry_after = retry_after
        self.members = members or {}


class CallerError(DemitasseError):
    """As it stands, this request will not succeed."""

    code = "caller-error"


class BadRequest(CallerError):
    """The request cannot be understood."""

    code = "bad-request"


class EmptyBody(BadRequest):
    """The body is empty."""

    code = "empty-body"


class InvalidJson(BadRequest):
    """The body is not valid JSON."""

    code = "invalid-json"


class InvalidMsgpack(BadRequest):
    """The body is not valid MessagePack."""

    code = "invalid-msgpack"


class InvalidMultipart(BadRequest):
    """The body is not valid multipart/form-data."""

    code = "invalid-multipart"


class InvalidBase64(BadRequest):
    """A value that should be base64 is not."""

    code = "invalid-base64"


class InvalidEncodedBody(BadRequest):
    """The body does not decode as its Transfer-Encoding says."""

    code = "invalid-encoded-body"


class InvalidBody(BadRequest):
    """The body is well-formed, but not what this route expects."""

    code = "invalid-body"


class InvalidParameter(BadRequest):
    """A parameter in the query, the path or a header has a value that is not accepted."""

    code = "invalid-parameter"


class HeadTimeout(CallerError):
    """The head of the request did not arrive in time."""

    code = "head-timeout"
    retryable = True


class HeadTooLarge(CallerError):
    """The head of the request is larger than is accepted."""

    code = "head-too-large"


class Unauthenticated(CallerError):
    """This needs a key, and the request has none, or another."""

    code = "unauthenticated"


class ForeignOrigin(CallerError):
    """A page of another origin may not do this."""

    code = "foreign-origin"


class NotFound(CallerError):
    """There is nothing of this name."""

    code = "not-found"


class UnknownRoute(NotFound):
    """There is no such route."""

    code = "unknown-route"


class UnknownModel(NotFound):
    """There is no model of this name."""

    code = "unknown-model"


class UnknownVersion(NotFound):
    """This model has no such version."""

    code = "unknown-version"


class UnknownAlias(NotFound):
    """This model has no such alias."""

    code = "unknown-alias"


class VersionNotServed(NotFound):
    """This version is published, but not served."""

    code = "version-not-served"


class UnknownRequest(NotFound):
    """No request of this id was seen lately."""

    code = "unknown-request"


class MethodNotAllowed(CallerError):
    """This route does not answer to that method."""

    code = "method-not-allowed"


class BodyTimeout(CallerError):
    """The body did not arrive in time."""

    code = "body-timeout"
    retryable = True


class Conflict(CallerError):
    """The state of things does not permit this change."""

    code = "conflict"


class PayloadTooLarge(CallerError):
    """The body, or a part of it, is larger than is accepted."""

    code = "payload-too-large"


class TooManyImages(PayloadTooLarge):
    """The request holds more images than are accepted at once."""

    code = "too-many-images"


class MisdirectedRequest(CallerError):
    """This server does not go by the name that the request has for it."""

    code = "misdirected-request"


class UnsupportedMediaType(CallerError):
    """This content type is not accepted here."""

    code = "unsupported-media-type"


class UnsupportedContentEncoding(CallerError):
    """This content or transfer encoding is not accepted."""

    code = "unsupported-content-encoding"


class UnsupportedExpectation(CallerError):
    """The only expectation that is understood is 100-continue."""

    code = "unsupported-expectation"


class InvalidInput(CallerError):
    """The model cannot work with this input."""

    code = "invalid-input"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            code: the model's own word for what is wrong, such as `image-damaged`.
        """
        super().__init__(detail, field=field, retry_after=retry_after, members=members)
        if code is not None:
            self.code = code


class InputMismatch(InvalidInput):
    """An input has another dtype or shape than the model declares."""

    code = "input-mismatch"


class MissingInput(InvalidInput):
    """An input that the model declares is missing."""

    code = "missing-input"


class UnknownInput(InvalidInput):
    """The model declares no input of this name."""

    code = "unknown-input"


class Overloaded(DemitasseError):
    """There is no room now; the request itself is fine."""

    code = "overloaded"
    retryable = True


class QueueFull(Overloaded):
    """The lane of this model has reached its queue limit."""

    code = "queue-full"


class DeadlineUnmeetable(Overloaded):
    """With as many before it, this request would not be answered within its timeout."""

    code = "deadline-unmeetable"


class NotServing(Overloaded):
    """No replica of this model version is ready."""

    code = "not-serving"


class TooManyConnections(Overloaded):
    """There are as many connections as are kept."""

    code = "too-many-connections"


class Draining(Overloaded):
    """This replica finishes what it has and accepts nothing new."""

    code = "draining"


class ModelFailure(DemitasseError):
    """The model did not manage to answer.

    Others in the same batch were answered: whoever is told so was alone when it failed.
    """

    code = "model-failure"


class ModelError(ModelFailure):
    """The model raises an exception on this input."""

    code = "model-error"


class InvalidOutput(ModelFailure):
    """The model's answer to this input is not what it declares, or is not made of JSON values."""

    code = "invalid-output"


class WorkerCrashed(ModelFailure):
    """The model's process ends when it works on this input."""

    code = "worker-crashed"


class PredictTimeout(ModelFailure):
    """The model takes longer than its predict timeout on this input."""

    code = "predict-timeout"


class OutOfMemory(ModelFailure):
    """The model runs out of memory on this input, even alone."""

    code = "out-of-memory"


class DeadlineExceeded(DemitasseError):
    """The answer was not ready within the request's timeout."""

    code = "deadline-exceeded"
    retryable = True


class Internal(DemitasseError):
    """Something went wrong on our side."""

    code = "internal-error"


def _codes(kind: type[DemitasseError]) -> Iterator[str]:
    yield kind.code
    for each in kind.__subclasses__():
        yield from _codes(each)


CODES = frozenset(_codes(DemitasseError))
"""All that there are, but for the words of models."""
