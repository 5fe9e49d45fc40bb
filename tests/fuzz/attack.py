"""Sends cases to a running platform, and looks at what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.cases import Case, Cases
from tests.fuzz.images import files

_PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
#: Of the documented codes, which may come with which status is said there.
CODES = {
    code: int(status) if status else 422
    for code, status in re.findall(r"^\| `([a-z0-9-]+)` \| (\d{3})?", _PAGE.read_text(), re.M)
}
#: Of a 5xx, only these are meant: nobody serves it now, or not within its time.
DELIBERATE = {503, 504}
_BATCH = 250
_AT_ONCE = 16
#: Half of a request is answered within the deadlines that the platform under attack is given.
_PATIENCE_SECONDS = 10.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Finding(NamedTuple):
    case: Case | None
    what: str

    def __str__(self) -> str:
        if self.case is None:
            return self.what
        return (
            f"case {self.case.number} ({self.case.kind}): {self.what}\n  {self.case.data[:600]!r}"
        )


async def attack(
    port: int, cases: Cases, numbers: range, good_ones: Callable[[], Awaitable[list[str]]]
) -> tuple[list[Finding], Counter[str]]:
    """What was found, and how often each status and code came.

    Args:
        good_ones: what is wrong with the answers to requests with which nothing is wrong; asked
            now and then.
    """
    findings: list[Finding] = []
    seen: Counter[str] = Counter()
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            case = cases.case(number)
            what = await tried(port, case, seen)
            if what is not None:
                findings.append(Finding(case, what))

    for start in range(numbers.start, numbers.stop, _BATCH):
        batch = range(start, min(start + _BATCH, numbers.stop))
        await asyncio.gather(*(one(number) for number in batch))
        findings += [Finding(None, f"after {batch}: {each}") for each in await good_ones()]
    return findings, seen


async def tried(port: int, case: Case, seen: Counter[str]) -> str | None:
    """What is wrong with the answers to one case, if anything is."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answers = await exchanged(port, case.data)
    except TimeoutError:
        return "it was neither answered nor hung up on"
    except ValueError as error:
        return f"the answer is no HTTP: {error}"
    for answer in answers:
        what, code = judged(answer)
        seen[f"{answer.status} {code}"] += 1
        if what is not None:
            return f"{what}: {answer.status} {answer.body[:300]!r}"
    if not answers:
        seen["hung up"] += 1
    return None


async def exchanged(port: int, data: bytes) -> list[Answer]:
    """Every answer until the other side hangs up; we say at once that nothing follows the data."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[Answer] = []
    try:
        writer.write(data)
        answer = await answered(reader, bodiless=data.lstrip(b"\r\n").startswith(b"HEAD "))
        if answer is not None:
            answers.append(answer)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return answers


async def answered(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer | None:
    """The next answer; None where the other side has hung up.

    Args:
        bodiless: it is one to HEAD, and has the length of a body that does not come.
    """
    while True:
        first = await reader.readline()
        if not first:
            return None
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) [ -~]+\r\n", first)
        if match is None:
            raise ValueError(repr(first))
        headers = await fields(reader)
        if match[1] != b"100":
            break
    size = 0 if bodiless else int(headers.get("content-length", "0"))
    try:
        body = await asyncio.wait_for(reader.readexactly(size), 5.0)
    except asyncio.IncompleteReadError as error:
        raise ValueError(f"of {size} bytes came {error.partial!r}") from error
    return Answer(int(match[1]), headers, body)


async def fields(reader: asyncio.StreamReader) -> dict[str, str]:
    found: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, colon, text = line.decode("ascii").rstrip("\r\n").partition(": ")
        if not colon or name.lower() in found:
            raise ValueError(repr(line))
        found[name.lower()] = text
    return found


def judged(answer: Answer) -> tuple[str | None, str]:
    """What is wrong with an answer, and its code."""
    if answer.headers.get("server") != "demitasse":
        return "it does not say who answers", ""
    if b"Traceback" in answer.body or b".py" in answer.body:
        return "it shows internals", ""
    if answer.status < 400:
        return _strict(answer), "ok"
    if not answer.body:
        return None, "head"
    if answer.headers.get("content-type") != "application/problem+json":
        return "it is no problem document", ""
    try:
        document = json.loads(answer.body, parse_constant=_no_such_number)
    except ValueError as error:
        return f"its JSON is none: {error}", ""
    code = document["code"]
    if code not in CODES:
        return "its code is not documented", code
    if answer.status != CODES[code] or document["status"] != answer.status:
        return "its status is not the documented one", code
    if answer.status >= 500 and answer.status not in DELIBERATE:
        return "a 5xx", code
    return None, code


def _strict(answer: Answer) -> str | None:
    if answer.headers.get("content-type") == "application/json" and answer.body:
        try:
            document = json.loads(answer.body, parse_constant=_no_such_number)
            json.dumps(document, ensure_ascii=False).encode()
        except ValueError as error:
            return f"its JSON is none: {error}"
        return _of_parts(document)
    return None


def _of_parts(document: Any) -> str | None:
    """Of an answer of `/analyze`: no model's part may be a 5xx that is not meant."""
    for image in document.get("images", ()) if isinstance(document, dict) else ():
        for part in image.get("models", {}).values():
            status = part.get("error", {}).get("status", 200)
            if status >= 500 and status not in DELIBERATE:
                return f"a part with {part['error']}"
    return None


def _no_such_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


async def good_ones(port: int) -> list[str]:
    """What is wrong with the answers to requests with which nothing is wrong."""
    wrong = []
    body = b'{"inputs": {"x": [1.5, 2.5]}}'
    for path, media_type, sent, wanted in (
        (b"/models/gate/infer", b"application/json", body, b"[1.5,2.5]"),
        (b"/models/picture/infer", b"image/png", files()[0], b'"colour"'),
    ):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        for answer in await exchanged(port, head % (path, media_type, len(sent)) + sent):
            if answer.status != 200 or wanted not in answer.body:
                wrong.append(f"a good request got {answer}")
    return wrong


async def good_changes(port: int, admin_port: int) -> list[str]:
    """What is wrong after an operator has put everything right again."""
    wrong: list[str] = []
    for _ in range(3):  # what was begun for somebody who hung up may come to its end only now
        wrong = []
        for model in ("gate", "picture"):
            for method, path, body in (
                ("PUT", "versions/1.0.0/serving", {"serving": True}),
                ("PUT", "aliases/default", {"version": "1.0.0"}),
                ("DELETE", "settings", None),
                ("PATCH", "settings", {"queue_limit": 199}),
                ("GET", "history", None),
            ):
                wrong += await _changed(admin_port, method, f"/models/{model}/{path}", body)
        wrong += await good_ones(port)
        if not wrong:
            break
    return wrong


async def _changed(port: int, method: str, path: str, body: Any) -> list[str]:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answers = await exchanged(port, f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    if len(answers) != 1 or answers[0].status != 200:
        return [f"{method} {path} got {answers}"]
    settings = json.loads(answers[0].body).get("settings", {})
    if isinstance(settings, list):  # a history of changes: before and after, by name
        in_force = [{name: now for name, (_, now) in each["changes"].items()} for each in settings]
    else:
        in_force = [settings]
    return [f"{path} has {each}" for each in in_force if not _are_valid(each)]


def _are_valid(settings: dict[str, Any]) -> bool:
    """All settings of a model, or some; None where the manifest's are in force."""
    given = {name: each for name, each in settings.items() if each is not None}
    delays = [given.pop(name) for name in list(given) if "delay" in name]
    return all(0 < each < 2**32 for each in given.values()) and all(0 <= d < 1e6 for d in delays)
