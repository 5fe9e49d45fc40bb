"""A photo in, one merged answer out: real models, each in an environment of its own."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import socket
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from PIL import Image

from tests.acceptance.platform import PHOTO, Platform

MODELS = {"tagger", "aesthetics", "caption"}


def outputs(answer: dict[str, Any]) -> dict[str, Any]:
    """What the models said, without the timelines."""
    (image,) = answer["images"]
    return {name: part["output"] for name, part in image["models"].items()}


def raw(platform: Platform, data: bytes, content_type: str = "image/jpeg") -> httpx.Response:
    return platform.client.post("/analyze", content=data, headers={"Content-Type": content_type})


def test_a_photo_gets_tags_a_quality_score_and_a_caption(everything: Platform) -> None:
    answer = everything.client.post(
        "/analyze", files={"image": ("cat.jpg", PHOTO.read_bytes())}
    ).json()

    said = outputs(answer)
    assert set(said) == MODELS
    assert said["tagger"]["tags"][0]["label"] == "cat"
    assert 0 <= said["aesthetics"]["score"] <= 1
    assert said["caption"]["caption"]
    for part in answer["images"][0]["models"].values():
        assert part["version"] == "1.0.0"
        assert part["batch_size"] >= 1
        assert sum(part["timeline_ms"].values()) > 0  # another test may have asked about this photo


def test_the_same_photo_in_four_wrappings_gets_the_same_answer(everything: Platform) -> None:
    photo = PHOTO.read_bytes()
    client = everything.client

    answers = [
        client.post("/analyze", files={"image": ("cat.jpg", photo)}),
        raw(everything, photo),
        client.post("/analyze", json={"image": base64.b64encode(photo).decode()}),
        client.post(
            "/analyze",
            content=msgspec.msgpack.encode({"image": photo}),
            headers={"Content-Type": "application/msgpack"},
        ),
    ]

    first = outputs(answers[0].json())
    assert all(outputs(answer.json()) == first for answer in answers)


def test_twenty_photos_at_once_come_back_each_with_its_own(everything: Platform) -> None:
    with Image.open(PHOTO) as cat:
        photos = [encode(cat.resize((200 + 10 * i, 150 + 5 * i)).rotate(15 * i)) for i in range(20)]
    alone = [raw(everything, photo).json() for photo in photos]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        together = list(pool.map(lambda photo: raw(everything, photo).json(), photos))

    for i in range(20):
        assert together[i]["images"][0]["width"] == 200 + 10 * i
        assert labels(together[i]) == labels(alone[i])


def test_many_images_in_one_request_come_back_in_order(everything: Platform) -> None:
    with Image.open(PHOTO) as cat:
        files = [
            ("images", (f"{i}.png", encode(cat.resize((100 + i, 80)), "PNG"))) for i in range(5)
        ]

    answer = everything.client.post("/analyze", files=files, params={"models": "tagger"}).json()

    assert [image["name"] for image in answer["images"]] == [f"{i}.png" for i in range(5)]
    assert [image["width"] for image in answer["images"]] == [100 + i for i in range(5)]


def test_the_answer_proves_that_the_models_pin_different_versions_of_one_package(
    everything: Platform,
) -> None:
    said = outputs(raw(everything, PHOTO.read_bytes()).json())

    versions = [said[name]["library"] for name in sorted(MODELS)]
    shared = set.intersection(*(set(each) for each in versions))
    assert any(len({each[package] for each in versions}) > 1 for package in shared), versions


def test_no_model_environment_holds_the_platform_and_the_platform_holds_no_framework(
    everything: Platform,
) -> None:
    frozen = {
        python.parent.parent.name: freeze(python)
        for python in (everything.home / "envs").glob("*/bin/python")
    }

    assert len(frozen) >= 4
    for packages in frozen.values():
        assert "aiohttp" not in packages
        assert {"numpy", "msgpack"} <= packages
    import sys

    assert not freeze(Path(sys.executable)) & {"torch", "tensorflow-cpu", "keras", "onnxruntime"}


def test_digits_answers_tensors_in_json_and_msgpack_and_raw_bytes(everything: Platform) -> None:
    pixels = [[float((row * column) % 17) for column in range(8)] for row in range(8)]
    flat = struct.pack("<64f", *(value for row in pixels for value in row))
    client = everything.client

    as_json = client.post("/models/digits/infer", json={"inputs": {"pixels": pixels}})
    as_bytes = client.post(
        "/models/digits/infer",
        content=flat,
        headers={"Content-Type": "application/octet-stream"},
    )
    as_msgpack = client.post(
        "/models/digits/versions/1.0.0/infer",
        content=msgspec.msgpack.encode(
            {"inputs": {"pixels": {"dtype": "float32", "shape": [8, 8], "data": flat}}}
        ),
        headers={"Content-Type": "application/msgpack"},
    )

    assert as_json.status_code == 200, as_json.text
    assert as_json.json()["output"] == as_bytes.json()["output"] == as_msgpack.json()["output"]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        pytest.param("truncated", "image/jpeg", 422, "image-damaged", id="truncated JPEG"),
        pytest.param(
            b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n", "image/jpeg", 422, "image-format-unsupported",
            id="a PDF called photo.jpg",
        ),
        pytest.param(b"", "image/jpeg", 400, "empty-body", id="empty body"),
        pytest.param("bomb", "image/png", 422, "image-too-large", id="50,000 x 50,000 PNG"),
        pytest.param(b"hello", "text/plain", 415, "unsupported-media-type", id="wrong type"),
        pytest.param(
            b'{"image": "/9j/4AAQ!!!"}', "application/json", 400, "invalid-base64",
            id="broken base64",
        ),
        pytest.param(b'{"image": ', "application/json", 400, "invalid-json", id="broken JSON"),
    ],
)  # fmt: skip
def test_a_bad_photo_is_refused_by_name_and_the_next_good_one_answered(
    everything: Platform, body: bytes | str, content_type: str, status: int, code: str
) -> None:
    data = {"truncated": PHOTO.read_bytes()[:5000], "bomb": png_header(50_000, 50_000)}
    response = raw(everything, data[body] if isinstance(body, str) else body, content_type)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert raw(everything, PHOTO.read_bytes()).status_code == 200


def test_two_gigabytes_announced_are_refused_before_they_are_sent(everything: Platform) -> None:
    place = urlsplit(everything.url)
    before = [rss(each["pid"]) for each in everything.of("coordinator")]

    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 2147483648\r\n\r\n"
        )
        head = connection.recv(65536)

    assert head.startswith(b"HTTP/1.1 413 ")
    assert b'"payload-too-large"' in head
    after = [rss(each["pid"]) for each in everything.of("coordinator")]
    assert all(now - then < 20 * 2**20 for then, now in zip(before, after, strict=True))


def test_an_unknown_version_is_a_404_that_lists_what_there_is(everything: Platform) -> None:
    response = everything.client.post(
        "/analyze",
        params={"models": "tagger@9.9.9"},
        files={"image": ("cat.jpg", PHOTO.read_bytes())},
    )

    assert response.status_code == 404
    assert response.json()["code"] == "unknown-version"
    assert "1.0.0" in response.json()["available"]


def test_models_tell_their_schemas(everything: Platform) -> None:
    listed = everything.client.get("/models").json()["models"]
    tagger = everything.client.get("/models/tagger").json()
    version = everything.client.get("/models/tagger/versions/1.0.0").json()

    assert {model["name"] for model in listed} >= MODELS | {"digits", "simulated", "noop"}
    assert tagger["default"] == "1.0.0"
    assert version["input_schema"]["properties"]["image"]
    assert version["output_schema"]["properties"]["tags"]["type"] == "array"


def test_metrics_count_what_was_answered(everything: Platform) -> None:
    raw(everything, PHOTO.read_bytes())

    text = everything.client.get("/metrics").text

    assert (
        'demitasse_requests_total{code="ok",ending="answered",route="/analyze",status="200"}'
        in text
    )
    assert 'demitasse_answers_total{code="ok",model="tagger",version="1.0.0"}' in text


def labels(answer: dict[str, Any]) -> str:
    return str(outputs(answer)["tagger"]["tags"][0]["label"])


def encode(image: Image.Image, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces its size and has a little of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def freeze(python: Path) -> set[str]:
    told = subprocess.run(
        [python, "-I", "-c", "import importlib.metadata as m\n"
         "print(*sorted({d.metadata['Name'].lower() for d in m.distributions()}))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(told.stdout.split())


def rss(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096
