"""The same photo from many at once, on the whole platform: computed once, answered to all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.platform import Platform, running
from tests.packages import COLOUR, variant

CALLERS = 50
QUEUE_LIMIT = 10


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    admission = f"[admission]\nqueue_limit = {QUEUE_LIMIT}\n"
    package = variant(COLOUR, tmp_path_factory.mktemp("packages"), more=admission)
    with running(tmp_path_factory.mktemp("same-photo"), [package]) as platform:
        yield platform


def slow_photo() -> bytes:
    """Takes a tenth of a second to decode: by then all have asked. Is small enough to come in one
    piece with the head: whoever still uploads holds a place."""
    file = BytesIO()
    Image.new("RGB", (4000, 3000), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def computed(platform: Platform) -> dict[str, float]:
    """How often the image tier and the model have answered."""
    text = httpx.get(f"{platform.url}/metrics").text
    return {
        sample.labels["model"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "demitasse_answers_total"
    }


async def answers_to(platform: Platform, photo: bytes) -> list[dict[str, Any]]:
    """What each of the callers is told, all of whom are connected before the first one sends."""
    place = urlsplit(platform.url)
    request = (
        f"POST /analyze HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(photo)}\r\n\r\n"
    ).encode() + photo
    callers = [await asyncio.open_connection(place.hostname, place.port) for _ in range(CALLERS)]
    for _, writer in callers:
        writer.write(request)
    answers = []
    for reader, writer in callers:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), body
        answers.append(msgspec.json.decode(body))
        writer.close()
    return answers


async def test_fifty_identical_photos_at_once_are_one_decode_one_execution_and_fifty_answers(
    platform: Platform,
) -> None:
    answers = await answers_to(platform, slow_photo())

    entries = [answer["images"][0]["models"]["colour"] for answer in answers]
    assert len(entries) == CALLERS
    assert all(entry["output"] == entries[0]["output"] for entry in entries)
    assert sum(not {"shared", "cached"} & entry.keys() for entry in entries) == 1
    assert computed(platform) == {"decoder": 1, "colour": 1}
