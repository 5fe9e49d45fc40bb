"""analyze against a platform that answers what it is told to."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import Command

Analyze = Callable[..., Coroutine[Any, Any, subprocess.CompletedProcess[str]]]


class Platform:
    """Says of a photo what is in its file; the file `full` is refused once, `bad` always, and
    of `late` there is nothing yet."""

    def __init__(self) -> None:
        self.refused = 0
        self.at_once = 0
        self.most_at_once = 0
        self.queries: list[dict[str, str]] = []
        self.flows: list[tuple[str | None, str | None]] = []

    async def analyze(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        headers = request.headers
        self.flows.append((headers.get("Demitasse-Class"), headers.get("Demitasse-Caller")))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            part = await (await request.multipart()).next()
            content = (await part.read()).decode()  # type: ignore[union-attr]
            return self._answer(content)
        finally:
            self.at_once -= 1

    def _answer(self, content: str) -> web.Response:
        if content == "full" and not self.refused:
            self.refused += 1
            body = {"code": "queue-full", "detail": "no room", "retry_after": 0.05}
            return web.json_response(body, status=429)
        if content == "bad":
            body = {"code": "image-damaged", "detail": "it is damaged", "request_id": "r-1"}
            return web.json_response(body, status=422)
        entry: dict[str, Any] = {"version": "1.0.0", "output": {"tag": content}}
        if content == "late":
            entry = {"version": "1.0.0", "pending": True}
        return web.json_response({"images": [{"models": {"tagger": entry}}]})


@pytest.fixture
async def platform() -> Platform:
    return Platform()


@pytest.fixture
async def analyze(platform: Platform, demitasse: Command) -> AsyncIterator[Analyze]:
    app = web.Application()
    app.router.add_post("/analyze", platform.analyze)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))

        async def run(*arguments: object) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(demitasse, "analyze", *arguments, "--url", url)

        yield run


@pytest.fixture
def photo(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        file = tmp_path / f"{content}.jpg"
        file.write_text(content)
        return file

    return write


Write = Callable[[str], Path]


async def test_answers_stand_in_the_order_of_the_files(analyze: Analyze, photo: Write) -> None:
    files = [photo(f"photo-{number:02}") for number in range(20)]

    done = await analyze(*files, "--json")

    answers = json.loads(done.stdout)
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    assert [answer["models"]["tagger"]["output"]["tag"] for answer in answers] == [
        file.stem for file in files
    ]


async def test_only_a_few_are_under_way_at_once(
    analyze: Analyze, photo: Write, platform: Platform
) -> None:
    await analyze(*[photo(f"photo-{number}") for number in range(30)])

    assert platform.most_at_once <= 8


async def test_a_photo_that_found_no_room_is_sent_again(
    analyze: Analyze, photo: Write, platform: Platform
) -> None:
    done = await analyze(photo("full"))

    assert (done.returncode, platform.refused) == (0, 1)
    assert "tag full" in done.stdout


async def test_a_photo_without_an_answer_fails_alone(analyze: Analyze, photo: Write) -> None:
    done = await analyze(photo("bad"), photo("good"))

    assert done.returncode == 1
    assert "failed: it is damaged (image-damaged, request r-1)" in done.stdout
    assert "tag good" in done.stdout


async def test_a_file_that_is_missing_fails_alone(
    analyze: Analyze, photo: Write, tmp_path: Path
) -> None:
    done = await analyze(tmp_path / "none.jpg", photo("good"))

    assert done.returncode == 1
    assert "No such file or directory (unreadable-photo)" in done.stdout
    assert "tag good" in done.stdout


async def test_models_and_how_much_each_matters_are_passed_on(
    analyze: Analyze, photo: Write, platform: Platform
) -> None:
    models = ("--models", "tagger, caption@2", "--require", "tagger", "--optional", "caption")

    await analyze(photo("good"), *models)

    assert platform.queries == [
        {"models": "tagger,caption@2", "require": "tagger", "optional": "caption"}
    ]


async def test_class_and_caller_are_passed_on(
    analyze: Analyze, photo: Write, platform: Platform
) -> None:
    await analyze(photo("good"), "--class", "bulk", "--caller", "nightly")

    assert platform.flows == [("bulk", "nightly")]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--class", "urgent", "'urgent' is no class; there is interactive, bulk, shadow"),
        ("--caller", "me and you", "'me and you' is no caller's name: 1 to 64 of A-Z a-z"),
    ],
)
async def test_a_class_or_caller_that_there_cannot_be_is_explained_and_nothing_is_sent(
    analyze: Analyze, photo: Write, platform: Platform, option: str, value: str, said: str
) -> None:
    done = await analyze(photo("good"), option, value)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert platform.flows == []


async def test_a_model_that_the_answer_left_without_is_shown_as_pending_and_fails_nothing(
    analyze: Analyze, photo: Write
) -> None:
    done = await analyze(photo("late"))

    assert done.returncode == 0
    assert "pending" in done.stdout
