from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.peers import photos
from benchmarks.peers.items import ITEMS
from benchmarks.peers.roster import to_mlserver
from benchmarks.requests import NUMBER, Request, pool


def test_requests_of_a_pool_differ_in_their_number_alone(tmp_path: Path) -> None:
    request = Request("/answer", b'{"x":[1,%b]}' % NUMBER, {"Content-Type": "application/json"})
    file = tmp_path / "request"
    offset = request.write("http://127.0.0.1:80", file)

    made = pool(file.read_bytes(), offset, 3)

    numbers = [b"10000000", b"10000001", b"10000002"]
    assert made == [file.read_bytes().replace(NUMBER, number) for number in numbers]


def test_a_request_says_how_long_its_body_is(tmp_path: Path) -> None:
    file = tmp_path / "request"
    Request("/a", NUMBER + b"rest", {}).write("http://127.0.0.1:80", file)

    head, _, body = file.read_bytes().partition(b"\r\n\r\n")

    assert head == b"POST /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 12"
    assert body == NUMBER + b"rest"


@pytest.mark.parametrize("name", ITEMS)
def test_the_body_of_an_item_has_one_place_for_a_number(name: str) -> None:
    assert ITEMS[name].body().count(NUMBER) == 1


def test_a_photo_with_another_number_has_the_same_pixels() -> None:
    file = photos.jpeg(64, 48, noise=4, comment=NUMBER)

    other = file.replace(NUMBER, b"10000042")

    assert other != file
    assert Image.open(BytesIO(other)).tobytes() == Image.open(BytesIO(file)).tobytes()


def test_a_number_within_base64_leaves_the_photo_whole() -> None:
    text = to_mlserver(ITEMS["w2"]).body.replace(NUMBER, b"10000042")

    file = base64.b64decode(text.partition(b'["')[2].partition(b'"]')[0], validate=True)

    before = ITEMS["w2"].body()
    assert len(file) == len(before)
    assert Image.open(BytesIO(file)).tobytes() == Image.open(BytesIO(before)).tobytes()
