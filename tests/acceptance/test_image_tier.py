"""Hostile photos through the whole platform: each in its class, and the next is answered."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.platform import Platform, eventually, running
from tests.bombs.catalogue import READ, bombs
from tests.fuzz.images import files
from tests.packages import COLOUR
from tests.processes import alive

MB = 10**6
#: In a coordinator, for one request; of all of them together a decoder keeps as little.
MOST_IN_A_COORDINATOR = 30 * MB
MOST_KEPT = 40 * MB


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("image-tier")
    with running(home, [COLOUR], settings={"decoder_workers": "1"}) as platform:
        yield platform


def said_of(platform: Platform, photo: bytes) -> str | list[float]:
    """The code of the refusal, or the colour."""
    answer = platform.client.post(
        "/analyze", content=photo, headers={"Content-Type": "application/octet-stream"}
    )
    if answer.status_code == 422:
        return str(answer.json()["code"])
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["images"]
    colour: list[float] = image["models"]["colour"]["output"]["colour"]
    return colour


def good(number: int) -> tuple[bytes, list[float]]:
    """A photo that nobody has sent yet, and its colour."""
    colour = (number % 256, number // 256 % 256, 77)
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    return file.getvalue(), [float(part) for part in colour]


def pids(platform: Platform) -> set[int]:
    return {each["pid"] for each in platform.of("worker", "decoder")}


def held(pid: int, field: str = "RssAnon") -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def peak_in(pid: int, platform: Platform, photo: bytes) -> tuple[str | list[float], int]:
    """What is said of a photo, and the most that the process held meanwhile, beside what it had."""
    before = held(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    said = said_of(platform, photo)
    return said, held(pid, "VmHWM") - before


def test_every_bomb_is_in_its_class_and_a_good_photo_answered_right_after(
    platform: Platform,
) -> None:
    (coordinator,) = platform.of("coordinator")
    assert said_of(platform, good(0)[0]) == good(0)[1]
    (decoder,) = pids(platform)
    before, told, most = held(decoder), {}, {}

    for number, (name, bomb) in enumerate(bombs().items(), 1):
        told[name], most[name] = peak_in(coordinator["pid"], platform, bomb.make())
        photo, colour = good(number)
        assert said_of(platform, photo) == colour, f"after {name}"

    for name, bomb in bombs().items():
        said = READ if isinstance(told[name], list) else told[name]
        # Where cores are shared, work takes more time than elsewhere, and the kernel ends it.
        assert said in (bomb.becomes, "image-too-costly"), name
    assert max(most.values()) < MOST_IN_A_COORDINATOR, most
    assert all(held(pid) < before + MOST_KEPT for pid in pids(platform))


def test_odd_files_again_and_again_leave_nothing_in_a_decoder(platform: Platform) -> None:
    random = np.random.default_rng(0)

    def round_of_all() -> None:
        for file in files():
            changed = bytearray(file)
            for at in random.integers(0, len(file), 3):
                changed[at] = random.integers(0, 256)
            said_of(platform, bytes(changed))
            said_of(platform, file[: random.integers(1, len(file))])

    round_of_all()
    (decoder,) = pids(platform)
    before = held(decoder)

    for _ in range(10):
        round_of_all()

    assert pids(platform) == {decoder}
    assert held(decoder) < before + 4 * MB
    assert said_of(platform, good(5000)[0]) == good(5000)[1]


def test_a_photo_that_ends_its_decoder_is_refused_and_the_second_time_costs_none(
    tmp_path: Path,
) -> None:
    settings = {"decoder_workers": "1", "decode_cpu": "0.08"}
    killer = bombs()["WebP, lossless, 14.1 megapixels"].make()  # a quarter of a second in C
    with running(tmp_path, [COLOUR], settings=settings) as platform:
        (first,) = pids(platform)

        assert said_of(platform, killer) == "image-too-costly"
        assert said_of(platform, good(1)[0]) == good(1)[1]
        assert not alive(first)
        eventually(lambda: pids(platform) - {first}, within=10, what="its successor in the status")
        (second,) = pids(platform)
        assert said_of(platform, killer) == "image-too-costly"
        assert said_of(platform, good(2)[0]) == good(2)[1]

        assert alive(second)
