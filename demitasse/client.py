"""The SDK: Demitasse's API as plain calls.

    with Client("http://127.0.0.1:8080") as client:
        answer = client.analyze("photo.jpg", models=["tagger", "caption@1.0.0"])

Answers are the documents that `docs/http.md` describes, as dicts. Whatever goes
wrong is one `ApiError`. A platform that has no room (429) or is not serving yet
(503) is asked again when it said to, for a bounded time. Safe to share between
threads. Used by the command line too; knows nothing of homes and processes.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from wire.flows import CALLER_HEADER, CLASS_HEADER, InvalidFlow, checked_caller, rank_of

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_HEADER = "Demitasse-Timeout"
REQUEST_ID_HEADER = "X-Request-Id"

#: What is asked again, since the request itself was fine.
RETRIED_STATUSES = (429, 503)
#: Seconds, where the platform, or a proxy before it, did not say when to come back.
DEFAULT_RETRY_AFTER = 1.0
#: Everybody who was refused at once would come back at once: up to this share is added.
JITTER = 0.2

_CONNECT_SECONDS = 5.0
#: The platform's own `max_timeout` is 300 s by default; past that nothing comes any more.
_LONGEST_ANSWER_SECONDS = 330.0
#: What an answer may take on top of the timeout that was asked for: upload, network, merge.
_MARGIN_SECONDS = 15.0

Photo = str | PathLike[str] | bytes
"""A path, or the bytes of an image file."""
Answer = dict[str, Any]


class ApiError(Exception):
    """The platform refused or failed, or nothing answered.

    `code` is stable (docs/errors.md); those that no platform sent are
    `unreachable`, `no-answer`, `unexpected-answer`, and of what never left:
    `unreadable-photo`, `unsupported-input`, and of a class or a caller that the
    platform would refuse its own `invalid-parameter`.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.code = code
        self.detail = detail
        self.status = status
        """None when there was no answer at all."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense; None: it does not, or nobody knows."""
        self.request_id = request_id
        self.problem = dict(problem or {})
        """The whole problem document, for members such as `available` and `field`."""

    @classmethod
    def from_response(cls, response: httpx.Response) -> ApiError:
        """The error that a response with a status from 400 stands for."""
        document = _document(response)
        wait = document.get("retry_after", response.headers.get("Retry-After"))
        return cls(
            str(document.get("code", "unexpected-answer")),
            str(document.get("detail") or f"{response.status_code} {response.reason_phrase}"),
            status=response.status_code,
            retry_after=_seconds(wait),
            request_id=document.get("request_id") or response.headers.get(REQUEST_ID_HEADER),
            problem=document,
        )

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed in a while."""
        return self.status in RETRIED_STATUSES and self.problem.get("retryable") is not False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a refused request is repeated: a decision, without a clock."""

    seconds: float

    def next_wait(self, error: ApiError, waited: float) -> float | None:
        """Seconds to wait before the request is repeated; None: give up.

        Args:
            waited: seconds since the first attempt was refused.
        """
        if not error.passing:
            return None
        wait = DEFAULT_RETRY_AFTER if error.retry_after is None else error.retry_after
        return wait if waited + wait <= self.seconds else None


class Client:
    """One platform, over kept-alive connections.

    Args:
        url: where the public API listens.
        class_: how urgent `analyze` and `infer` are, where a call does not say: `interactive`,
            `bulk` or `shadow`; None: the platform's default, interactive.
        caller: for whom they are, where a call does not say: 1 to 64 of `A-Z a-z 0-9 . _ : @ -`;
            None: the platform goes by the address.
        retry_for: seconds for which 429 and 503 are answered by coming back; 0: never.
        sleep, clock: time, for those who test.

    Raises:
        ApiError: a class or a caller that there cannot be.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        class_: str | None = None,
        caller: str | None = None,
        retry_for: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self._flow = _flow_headers(class_, caller)
        self._patience = Patience(retry_for)
        self._sleep = sleep
        self._clock = clock
        self._http = open_http(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def analyze(
        self,
        photos: Photo | Sequence[Photo],
        *,
        models: Iterable[str] = (),
        require: Iterable[str] = (),
        optional: Iterable[str] = (),
        timeout: float | None = None,
        class_: str | None = None,
        caller: str | None = None,
    ) -> Answer:
        """One photo or several through several models, in one request.

        Args:
            photos: `images` of the answer has one part for each, in this order.
            models: such as `tagger`, `tagger@3`, `tagger@3.1.0`, `tagger@canary`;
                none: those that the platform has marked for it.
            require: models without which the whole request fails; the others'
                errors stand in the answer, beside the results.
            optional: models that are not waited for once all the others have answered.
            timeout: seconds, after which a model that has not answered is `pending` in the
                answer; None: the platform's default.
            class_, caller: how urgent it is, and for whom; None: as the client was told.

        Raises:
            ApiError
        """
        headers = self._headers(class_, caller)
        listed = [photos] if isinstance(photos, str | PathLike | bytes) else photos
        files = [("image", _file(photo)) for photo in listed]
        named = {"models": models, "require": require, "optional": optional}
        asked = {name: ",".join(values) for name, values in named.items()}
        query = {name: value for name, value in asked.items() if value}
        return self._call("POST", "/analyze", timeout, params=query, files=files, headers=headers)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        class_: str | None = None,
        caller: str | None = None,
    ) -> Answer:
        """One example to one model, as its own inputs.

        Args:
            inputs: by name, without a batch axis: numbers, nested lists, or numpy arrays.
            version: or the beginning of one, or an alias; None: the default.
            class_, caller: as for `analyze`.

        Raises:
            ApiError
        """
        import msgpack

        headers = self._headers(class_, caller)
        body = {
            "inputs": {name: _input(name, value) for name, value in inputs.items()},
            "parameters": dict(parameters or {}),
        }
        try:
            content = msgpack.packb(body)
        except (TypeError, ValueError, OverflowError) as error:
            detail = f"inputs or parameters cannot be sent: {error}"
            raise ApiError("unsupported-input", detail) from error
        path = f"/models/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{quote(version, safe='')}"
        return self._call(
            "POST",
            f"{path}/infer",
            timeout,
            content=content,
            headers={"Content-Type": "application/msgpack", **headers},
        )

    def models(self) -> list[Answer]:
        """Every model that is published, with versions, aliases and settings."""
        listed: list[Answer] = self._call("GET", "/models", None)["models"]
        return listed

    def model(self, name: str) -> Answer:
        """One model, with the schemas of its default version's input and output."""
        return self._call("GET", f"/models/{quote(name, safe='')}", None)

    def _headers(self, class_: str | None, caller: str | None) -> dict[str, str]:
        return {**self._flow, **_flow_headers(class_, caller)}

    def _call(self, method: str, path: str, timeout: float | None, **request: Any) -> Answer:
        """One request, repeated while the platform asks for that and patience lasts."""
        if timeout is not None:
            request.setdefault("headers", {})[TIMEOUT_HEADER] = f"{timeout:g}"
            request["timeout"] = _limits(timeout + _MARGIN_SECONDS)
        refused_at: float | None = None
        while True:
            try:
                return call(self._http, method, path, **request)
            except ApiError as error:
                now = self._clock()
                refused_at = now if refused_at is None else refused_at
                wait = self._patience.next_wait(error, now - refused_at)
                if wait is None:
                    raise
            self._sleep(wait * random.uniform(1, 1 + JITTER))


def open_http(url: str, *, key: str = "") -> httpx.Client:
    """Connections to one platform. A proxy of the environment is not asked for this machine.

    Args:
        key: of the admin API, where it wants one.
    """
    return httpx.Client(
        base_url=url,
        timeout=_limits(_LONGEST_ANSWER_SECONDS),
        trust_env=not _is_local(url),
        headers={"Authorization": f"Bearer {key}"} if key else None,
    )


def call(http: httpx.Client, method: str, path: str, **request: Any) -> Answer:
    """One request, answered by a JSON object.

    Raises:
        ApiError: for everything else.
    """
    try:
        response = http.request(method, path, **request)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ApiError("unreachable", f"nothing answers at {http.base_url}: {error}") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ApiError("unreachable", f"{http.base_url} is no usable URL: {error}") from error
    except httpx.TimeoutException as error:
        raise ApiError("no-answer", f"{http.base_url} did not answer in time") from error
    except httpx.HTTPError as error:
        raise ApiError("no-answer", f"{http.base_url} broke off: {error}") from error
    if response.status_code >= 400:
        raise ApiError.from_response(response)
    answer = _document(response)
    if not answer:
        raise ApiError(
            "unexpected-answer",
            f"{http.base_url} answered {method} {path} with something else than JSON; "
            "is this the address of a Demitasse?",
            status=response.status_code,
        )
    return answer


def _document(response: httpx.Response) -> Answer:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(value: object) -> float | None:
    """Of a `Retry-After`; the form with a date is not ours, and reads as not given."""
    if not isinstance(value, str | int | float):
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _limits(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=_CONNECT_SECONDS)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _flow_headers(class_: str | None, caller: str | None) -> dict[str, str]:
    """What tells the platform how urgent a request is, and for whom. Raises ApiError."""
    headers = {}
    try:
        if class_ is not None:
            rank_of(class_)
            headers[CLASS_HEADER] = class_
        if caller is not None:
            headers[CALLER_HEADER] = checked_caller(caller)
    except InvalidFlow as error:
        raise ApiError("invalid-parameter", str(error), problem={"field": error.field}) from error
    return headers


def _file(photo: Photo) -> tuple[str, bytes]:
    """Name and content. Read as a whole: a repeated request sends it again."""
    if isinstance(photo, bytes):
        return "photo", photo
    path = Path(photo)
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ApiError("unreadable-photo", f"{path}: {error.strerror or error}") from error


def _input(name: str, value: Any) -> Any:
    """Numpy arrays as dtype, shape and bytes; lists and numbers as they are."""
    if not hasattr(value, "__array__"):
        return value
    import numpy as np

    from wire.errors import WireError
    from wire.tensor import Tensor

    try:
        tensor = Tensor.from_array(np.asarray(value))
    except WireError as error:
        raise ApiError("unsupported-input", f"input {name!r}: {error}") from error
    return {"dtype": tensor.dtype, "shape": list(tensor.shape), "data": bytes(tensor.data)}
