"""coordinator/http/payloads.py: every accepted format, and what is refused, over real sockets."""

import base64
import json
import tracemalloc
from dataclasses import replace

import msgpack
import pytest
from aiohttp import web
from edge import LIMITS, Reply, exchange, post
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import (
    DemitasseError,
    InputMismatch,
    InvalidBody,
    InvalidJson,
    InvalidMsgpack,
    PayloadTooLarge,
)
from coordinator.examples import Example
from coordinator.http import payloads
from coordinator.http.photo_lists import Photo
from wire.frames import fresh
from wire.tensor import Tensor, TensorSpec

BYTES = "application/octet-stream"
MSGPACK = "application/msgpack"
FORM = "multipart/form-data; boundary=b"
PHOTO = b"\xff\xd8 not really a photo"
SPECS = {"x": TensorSpec("float32", (2,)), "n": TensorSpec("int64", (-1, 2))}
GOOD = {"x": [1.5, 2], "n": [[1, 2], [3, 4]]}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def form(*parts: tuple[str, bytes]) -> bytes:
    sent = b"".join(
        b"--b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (parameters.encode(), data)
        for parameters, data in parts
    )
    return sent + b"--b--"


async def photos_of(body: bytes, content_type: str | None, **headers: str) -> list[Photo]:
    photos: list[Photo] = []

    async def handler(request):
        photos.extend(await payloads.read_photos(request, LIMITS, fresh))
        return web.Response()

    reply = await exchange(handler, post(body, content_type, **headers))
    assert reply.status == 200, reply.body
    return photos


async def refused_photos(body: bytes, content_type: str, **headers: str) -> Reply:
    async def handler(request):
        await payloads.read_photos(request, LIMITS, fresh)
        return web.Response()

    return await exchange(handler, post(body, content_type, **headers))


async def example_of(body: bytes, content_type: str, specs=SPECS) -> Example:
    examples: list[Example] = []

    async def handler(request):
        examples.append(await payloads.read_inputs(request, specs, LIMITS))
        return web.Response()

    reply = await exchange(handler, post(body, content_type))
    assert reply.status == 200, reply.body
    return examples[0]


async def refused_example(
    body: bytes, content_type: str = "application/json", specs=SPECS, photos_too=False
) -> Reply:
    async def handler(request):
        await payloads.read_inputs(request, specs, LIMITS, photos_too=photos_too)
        return web.Response()

    return await exchange(handler, post(body, content_type))


async def one_photo(body: bytes, content_type: str) -> tuple[Reply, list[Photo]]:
    photos: list[Photo] = []

    async def handler(request):
        photos.append(await payloads.read_photo(request, LIMITS, fresh))
        return web.Response()

    return await exchange(handler, post(body, content_type)), photos


# photos


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PHOTO, "image/jpeg"),
        (PHOTO, "image/anything"),
        (PHOTO, BYTES),
        (PHOTO, None),
        (form(('name="image"; filename="p.jpg"', PHOTO)), FORM),
        (form(('name="image"', PHOTO)), FORM),
        (json.dumps({"image": b64(PHOTO)}).encode(), "application/json"),
        (json.dumps({"images": [b64(PHOTO)]}).encode(), "application/json; charset=utf-8"),
        (json.dumps({"images": [{"name": "p", "data": b64(PHOTO)}]}).encode(), "application/json"),
        (msgpack.packb({"image": PHOTO}), MSGPACK),
        (msgpack.packb({"images": [{"name": "p", "data": PHOTO}]}), "application/x-msgpack"),
    ],
    ids=[
        "raw",
        "raw-any-image-type",
        "octet-stream",
        "no-content-type",
        "form",
        "form-without-file-name",
        "json",
        "json-list",
        "json-named",
        "msgpack",
        "msgpack-named",
    ],
)
async def test_the_same_photo_arrives_in_every_format(body, content_type):
    (photo,) = await photos_of(body, content_type)

    assert bytes(photo.data) == PHOTO


async def test_several_photos_keep_order_and_names():
    body = form(
        ('name="images"; filename="a.jpg"', b"A"),
        ('name="upload"; filename="b.jpg"', b"B"),
        ('name="file"', b"C"),
    )

    photos = await photos_of(body, FORM)

    assert [(photo.name, bytes(photo.data)) for photo in photos] == [
        ("a.jpg", b"A"),
        ("b.jpg", b"B"),
        (None, b"C"),
    ]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "image/jpeg", 400, "empty-body"),
        (b"", "application/json", 400, "empty-body"),
        (PHOTO, "text/plain", 415, "unsupported-media-type"),
        (PHOTO, "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (PHOTO, "multipart/mixed; boundary=b", 415, "unsupported-media-type"),
        (b"x" * 1025, "image/png", 413, "payload-too-large"),
        (form(('name="image"', b"x" * 1025)), FORM, 413, "payload-too-large"),
        (form(*[('name="image"', b"x")] * 4), FORM, 413, "too-many-images"),
        (form(*[('name="image"', b"x")] * 5), FORM, 413, "payload-too-large"),
        (b"not a form", FORM, 400, "invalid-multipart"),
        (form(("name=x", b"1")), "multipart/form-data", 400, "invalid-multipart"),
        (form(), FORM, 400, "invalid-body"),
        (form(('name="models"', b"tagger")), FORM, 400, "invalid-body"),
        (b"{", "application/json", 400, "invalid-json"),
        (b'{"image": NaN}', "application/json", 400, "invalid-json"),
        (b"[" * 3000, "application/json", 400, "invalid-body"),
        (b'{"image": "%%%"}', "application/json", 400, "invalid-base64"),
        (b'{"image": "YWI"}', "application/json", 400, "invalid-base64"),
        (b'{"image": "data:image/png;base64,YWI="}', "application/json", 400, "invalid-base64"),
        (b'{"image": 5}', "application/json", 400, "invalid-body"),
        (b'{"images": []}', "application/json", 400, "invalid-body"),
        (b'{"image": "YWI=", "images": []}', "application/json", 400, "invalid-body"),
        (b'{"picture": "YWI="}', "application/json", 400, "invalid-body"),
        (b"{}", "application/json", 400, "invalid-body"),
        (b"\xc1", MSGPACK, 400, "invalid-msgpack"),
        (msgpack.packb({"image": PHOTO})[:-1], MSGPACK, 400, "invalid-msgpack"),
        (b"\x81\xa5image\xc6\xff\xff\xff\xff", MSGPACK, 400, "invalid-msgpack"),
        (msgpack.packb({"image": "YWI="}), MSGPACK, 400, "invalid-body"),
    ],
)
async def test_a_bad_body_has_a_code_of_its_own(body, content_type, status, code):
    reply = await refused_photos(body, content_type)

    assert (reply.status, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "content_type", "field"),
    [
        (b'{"images": ["YWI=", "%"]}', "application/json", "images[1]"),
        (b'{"images": ["YWI=", {"data": "%"}]}', "application/json", "images[1].data"),
        (b'{"image": {"nam": "x"}}', "application/json", "image"),
        (form(('name="image"', b"1"), ('name="image"', b"x" * 1025)), FORM, "images[1]"),
        (form(('name="models"', b"tagger")), FORM, "models"),
        (PHOTO, "text/plain", "Content-Type"),
    ],
)
async def test_the_part_at_fault_is_named(body, content_type, field):
    assert (await refused_photos(body, content_type)).json()["field"] == field


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"images":[' + b'"",' * 3 + b'""]}', "application/json"),
        (b'{"images":[' + b'"",' * 1000 + b'""]}', "application/json"),
        (b'{"images":["' + b'","' * 1000, "application/json"),
        (msgpack.packb({"images": [b""] * 4}), MSGPACK),
        # A list that says to be of four thousand million.
        (b"\x81\xa6images\xdd\xff\xff\xff\xff\xc4\x00", MSGPACK),
        (b"\x81\xa6images\xdd\xff\xff\xff\xff\xc4\x00", "application/vnd.msgpack"),
    ],
    ids=["json", "json-many", "json-broken", "msgpack", "msgpack-many", "msgpack-other-name"],
)
async def test_too_many_listed_images_are_refused_before_they_are_made(body, content_type):
    refused = (await refused_photos(body, content_type)).json()

    assert (refused["status"], refused["code"]) == (413, "too-many-images")
    assert refused["field"] == "images"
    assert "at most 3 " in refused["detail"] or "3 images" in refused["detail"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"images":[' + b'"",' * 1_000_000 + b'""]}', "application/json"),
        (b'{"images":["' + b"," * 1_000_000 + b'"]}', "application/json"),
        (b"\x81\xa6images\xdd\x00\x0f\x42\x40" + b"\xc4\x00" * 1_000_000, MSGPACK),
    ],
    ids=["json", "json-commas", "msgpack"],
)
async def test_a_million_listed_images_take_no_memory(body, content_type):
    taken, roomy = [], replace(LIMITS, max_body_bytes=2**23)

    async def handler(request):
        tracemalloc.start()
        try:
            await payloads.read_photos(request, roomy, fresh)
        finally:
            taken.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    reply = await exchange(handler, post(body, content_type))

    assert reply.json()["code"] == "too-many-images"
    assert taken[0] < 4 * len(body)  # it is received in pieces, and these are joined


NAMES = {"as long as may be": "\u20ac," + "," * 253, "one longer": "\u20ac" + "," * 255}


def named(name: str, how: str) -> tuple[bytes, str]:
    photos = [{"data": PHOTO, "name": "a"}, {"data": PHOTO, "name": name}]
    if how == "form":
        parts = [(f'name="image"; filename="{photo["name"]}"', PHOTO) for photo in photos]
        return form(*parts), FORM
    if how == "msgpack":
        return msgpack.packb({"images": photos}), MSGPACK
    written = [{**photo, "data": b64(PHOTO)} for photo in photos]
    return json.dumps({"images": written}, ensure_ascii=False).encode(), "application/json"


@pytest.mark.parametrize("how", ["form", "json", "msgpack"])
async def test_an_images_name_of_255_characters_is_accepted(how):
    name = NAMES["as long as may be"]

    photos = await photos_of(*named(name, how))

    assert [photo.name for photo in photos] == ["a", name]


@pytest.mark.parametrize("how", ["form", "json", "msgpack"])
async def test_a_longer_name_is_refused_and_not_repeated(how):
    reply = await refused_photos(*named(NAMES["one longer"], how))

    assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")
    assert reply.json()["field"] == "images[1].name"
    assert b",,," not in reply.body


async def test_a_wrong_content_type_learns_which_are_accepted():
    accepted = (await refused_photos(PHOTO, "text/plain")).json()["accepted"]

    assert accepted == ["image/*", BYTES, "multipart/form-data", "application/json", MSGPACK]


async def test_broken_json_is_refused_with_the_place():
    reply = await refused_photos(b'{"image": }', "application/json")

    assert "byte 10" in reply.json()["detail"]


# inputs of one model


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps({"inputs": GOOD}).encode(), "application/json"),
        (msgpack.packb({"inputs": GOOD, "parameters": {}}), MSGPACK),
    ],
    ids=["json", "msgpack"],
)
async def test_nested_lists_become_the_declared_tensors(body, content_type):
    example = await example_of(body, content_type)

    assert example.inputs["x"].array().tolist() == [1.5, 2.0]
    assert example.inputs["n"].array().tolist() == [[1, 2], [3, 4]]
    assert example.parameters == {}


async def test_binary_tensors_come_as_base64_or_as_bytes():
    spec = {"x": TensorSpec("float32", (2,))}
    tensor = {"dtype": "float32", "shape": [2], "data": bytes(8)}

    packed = await example_of(msgpack.packb({"inputs": {"x": tensor}}), MSGPACK, spec)
    text = json.dumps({"inputs": {"x": tensor | {"data": b64(bytes(8))}}}).encode()
    written = await example_of(text, "application/json", spec)

    assert packed.inputs == written.inputs == {"x": Tensor("float32", (2,), bytes(8))}


async def test_parameters_are_passed_on():
    body = json.dumps({"inputs": GOOD, "parameters": {"beam": 3, "words": ["a", None]}}).encode()

    assert (await example_of(body, "application/json")).parameters == {
        "beam": 3,
        "words": ["a", None],
    }


async def test_one_raw_tensor_takes_the_declared_dtype_and_shape():
    example = await example_of(bytes(8), BYTES, {"x": TensorSpec("float32", (2,))})

    assert example.inputs == {"x": Tensor("float32", (2,), bytes(8))}


async def test_the_open_axis_of_a_raw_tensor_is_as_long_as_the_bytes():
    example = await example_of(bytes(24), BYTES, {"x": TensorSpec("uint8", (-1, 4, 2))})

    assert example.inputs["x"].shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(PHOTO, "image/jpeg"), (form(('name="image"; filename="p.jpg"', PHOTO)), FORM)],
    ids=["raw", "form"],
)
async def test_one_photo_is_the_body_or_in_a_form(body, content_type):
    reply, photos = await one_photo(body, content_type)

    assert reply.status == 200
    assert [bytes(photo.data) for photo in photos] == [PHOTO]


@pytest.mark.parametrize(
    ("inputs", "code", "field"),
    [
        ({"x": [1, 2]}, "missing-input", "inputs.n"),
        ({**GOOD, "y": 1}, "unknown-input", "inputs.y"),
        ({**GOOD, "x": [1, 2, 3]}, "input-mismatch", "inputs.x"),
        ({**GOOD, "x": "[1, 2]"}, "input-mismatch", "inputs.x"),
        ({**GOOD, "x": {"dtype": "float32", "shape": [2], "data": "%"}}, "invalid-base64", None),
        ({**GOOD, "x": {"dtype": "float32", "shape": [2], "data": "YWI="}}, "input-mismatch", None),
        ({**GOOD, "x": {"dtype": "pickle", "shape": [2], "data": ""}}, "input-mismatch", None),
        ({**GOOD, "x": {"dtype": "float32"}}, "input-mismatch", "inputs.x"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(inputs, code, field):
    reply = await refused_example(json.dumps({"inputs": inputs}).encode())

    assert reply.json()["code"] == code
    assert 400 <= reply.status < 500
    assert field in (None, reply.json()["field"])


async def test_an_unknown_input_learns_which_there_are():
    reply = await refused_example(json.dumps({"inputs": {**GOOD, "y": 1}}).encode())

    assert reply.json()["available"] == ["n", "x"]


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
async def test_numbers_that_json_does_not_have_are_refused(token):
    reply = await refused_example(b'{"inputs": {"x": [1, %b], "n": [[1, 2]]}}' % token)

    assert reply.status == 400


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"[1]", "application/json", 400, "invalid-body"),
        (b"{}", "application/json", 400, "invalid-body"),
        (b'{"inputs": {}, "extra": 1}', "application/json", 400, "invalid-body"),
        (b'{"inputs": {}, "parameters": 1}', "application/json", 400, "invalid-body"),
        (b"\xc1", MSGPACK, 400, "invalid-msgpack"),
        (b"x", "text/plain", 415, "unsupported-media-type"),
        (PHOTO, "image/jpeg", 415, "unsupported-media-type"),
        (b"x", BYTES, 400, "invalid-body"),
    ],
)
async def test_a_bad_infer_body_has_a_code_of_its_own(body, content_type, status, code):
    reply = await refused_example(body, content_type)

    assert (reply.status, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (TensorSpec("float32", (2,)), 7),
        (TensorSpec("float32", (2,)), 12),
        (TensorSpec("uint8", (-1, 4)), 7),
        (TensorSpec("uint8", (-1, -1)), 4),
        (TensorSpec("uint8", (-1, 0)), 4),
    ],
)
async def test_a_raw_tensor_of_another_size_is_refused(spec, size):
    reply = await refused_example(bytes(size), BYTES, {"x": spec})

    assert (reply.status, reply.json()["code"]) == (422, "input-mismatch")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps({"inputs": {"x": [0.25] * 500}}).encode(), "application/json"),
        (msgpack.packb({"inputs": {"x": [0.25] * 250}}), MSGPACK),
        (
            msgpack.packb({"inputs": {"x": {"dtype": "uint8", "shape": [3], "data": [1] * 2048}}}),
            MSGPACK,
        ),
    ],
    ids=["json", "msgpack", "data"],
)
async def test_many_numbers_one_by_one_are_refused_and_the_binary_forms_named(body, content_type):
    reply = await refused_example(body, content_type, {"x": TensorSpec("float32", (-1,))})

    assert (reply.status, reply.json()["code"]) == (413, "payload-too-large")
    assert "application/octet-stream" in reply.json()["detail"]
    assert "application/msgpack" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"inputs": {"x": [' + b"[]," * 300_000 + b"1]}}", "application/json"),
        (b'{"inputs": {"x": [1]}, "parameters": {"p": [' + b"{}," * 300_000 + b"1]}}",
            "application/json"),
        (b"\x81\xa6inputs\x81\xa1x\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000, MSGPACK),
        (b"\x81\xa6inputs\x81\xa1x\xdd\x00\x0f\x42\x40" + b"\x01" * 1_000_000, MSGPACK),
    ],
    ids=["lists", "objects", "packed lists", "packed numbers"],
)  # fmt: skip
def test_a_megabyte_of_lists_is_refused_before_they_are_made(body, content_type):
    tracemalloc.start()
    with pytest.raises(PayloadTooLarge, match="send tensors as"):
        payloads.parse_example(body, content_type, {"x": TensorSpec("float32", (-1,))})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3 * 2**20


def test_a_long_list_of_something_else_than_numbers_is_refused():
    body = b'{"inputs": {"x": [' + b'"",' * 5000 + b"1]}}"

    with pytest.raises(InputMismatch, match="not all float32"):
        payloads.parse_example(body, "application/json", {"x": TensorSpec("float32", (-1,))})


@pytest.mark.parametrize("written", ["JSON", "MessagePack"])
@pytest.mark.parametrize(
    "values", [[1, True], [[1, True]], ["1", 2], [None]], ids=["row", "table", "text", "null"]
)
def test_what_stands_beside_a_number_does_not_make_it_one(values, written):
    body, content_type = encoded_in(written, {"inputs": {"x": values}})
    shape = (-1, -1) if type(values[0]) is list else (-1,)

    with pytest.raises(InputMismatch, match="not all float64"):
        payloads.parse_example(body, content_type, {"x": TensorSpec("float64", shape)})


@pytest.mark.parametrize("written", ["JSON", "MessagePack"])
@pytest.mark.parametrize("length", [20_000, 200_000], ids=["short", "above what has to be binary"])
def test_parameters_that_are_data_are_refused(written, length):
    parameters = {"A" * length: [0] * length}
    tensor = {"dtype": "float32", "shape": [0], "data": b"" if written == "MessagePack" else ""}
    sent = {"inputs": {"x": tensor}, "parameters": parameters}
    body, content_type = encoded_in(written, sent)

    with pytest.raises(PayloadTooLarge, match="16000 bytes") as refusal:
        payloads.parse_example(body, content_type, {"x": TensorSpec("float32", (-1,))})
    assert refusal.value.field == "parameters"


def encoded_in(written, value):
    if written == "MessagePack":
        return msgpack.packb(value), MSGPACK
    return json.dumps(value).encode(), "application/json"


@pytest.mark.parametrize("content_type", [BYTES, MSGPACK])
async def test_a_large_tensor_comes_as_binary(content_type):
    data = bytes(3000)
    tensor = {"dtype": "uint8", "shape": [3000], "data": data}
    packed = msgpack.packb({"inputs": {"x": tensor}, "parameters": {"p": 1}})
    body = data if content_type == BYTES else packed

    example = await example_of(body, content_type, {"x": TensorSpec("uint8", (-1,))})

    assert bytes(example.inputs["x"].data) == data


async def test_a_large_body_that_is_no_msgpack_is_refused_as_such():
    reply = await refused_example(b"\x81\xa6inputs\x81\xa1x\xc1" + bytes(3000), MSGPACK)

    assert (reply.status, reply.json()["code"]) == (400, "invalid-msgpack")


LISTS = b"\xdd\x00\x04\x93\xe0" + b"\x90" * 300_000
BINARY = b"\x83\xa5dtype\xa7float32\xa5shape\x90\xa4data\xc4\x04\0\0\0\0"


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xa6inputs\x81\xa1x" + b"\x84" + BINARY[1:] + b"\xa4more" + LISTS,
        b"\x82\xa6inputs\x81\xa1x" + BINARY + b"\xa4more" + LISTS,
        b"\x83\xa6inputs\x81\xa1x" + BINARY + b"\xaaparameters\x81\xa1p" + LISTS
        + b"\xaaparameters\x80",
        b"\xde\x00\x03\xa6inputs\x81\xa1x" + BINARY + b"\xaaparameters\x81\xa1p" + LISTS
        + b"\xaaparameters\x80",
        b"\x81\xa6inputs\xdf\x00\x01\x86\xa0"
        + b"".join(b"\xa5%05d" % each + BINARY for each in range(100_000)),
    ],
    ids=["in-a-tensor", "beside-the-inputs", "parameters-twice", "written-longer", "inputs"],
)  # fmt: skip
def test_a_large_body_cannot_hide_what_is_made_of_it(body):
    tracemalloc.start()
    try:
        with pytest.raises(DemitasseError) as refused:
            payloads.parse_example(body, MSGPACK, {"x": TensorSpec("float32", ())})
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(refused.value, PayloadTooLarge | InvalidBody)
    assert most < 2**20


@pytest.mark.parametrize("start", [b"\x82", b"\xde\x00\x02", b"\xdf\x00\x00\x00\x02"])
def test_a_large_body_may_say_its_length_in_any_way(start):
    data = bytes(400_000)
    tensor = {"dtype": "uint8", "shape": [400_000], "data": data}
    packed = msgpack.packb({"inputs": {"x": tensor}, "parameters": {"p": 1}})

    example = payloads.parse_example(start + packed[1:], MSGPACK, {"x": TensorSpec("uint8", (-1,))})

    assert bytes(example.inputs["x"].data) == data
    assert example.parameters == {"p": 1}


async def test_two_photos_for_one_model_are_refused():
    body = form(('name="image"', b"1"), ('name="image"', b"2"))

    reply, _ = await one_photo(body, FORM)

    assert reply.json()["code"] == "too-many-images"


@pytest.mark.parametrize("photos_too", [True, False], ids=["takes photos", "takes none"])
async def test_a_refused_type_comes_with_those_that_the_model_takes(photos_too):
    reply = await refused_example(b"x", "text/plain", photos_too=photos_too)

    assert (reply.status, reply.json()["code"]) == (415, "unsupported-media-type")
    assert ("image/*" in reply.json()["accepted"]) is photos_too


# what is said of it


def packed_text(size: int) -> bytes:
    """A MessagePack text that takes six times its length in JSON."""
    return b"\xdb" + size.to_bytes(4, "big") + b"\x01" * size


TENSOR = b"\x83\xa5dtype\xa1f\xa5shape\x90\xa4data\xc4\x00"
LONG = packed_text(1_000_000)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"\x81\xa6inputs\x82\xa1x" + TENSOR + LONG + TENSOR, "unknown-input", "inputs.\x01"),
        (
            b"\x81\xa6inputs\x81\xa1x\x83\xa5dtype" + LONG + b"\xa5shape\x90\xa4data\xc4\x00",
            "input-mismatch",
            "inputs.x",
        ),
        (
            b"\x81\xa6inputs\x81\xa1x\x83\xa5dtype\xa7float32\xa5shape\x91"
            + packed_text(100_000)
            + b"\xa4data\xc4\x00",
            "input-mismatch",
            "inputs.x",
        ),
    ],
    ids=["unknown-input", "dtype", "dimension"],
)
async def test_a_long_text_in_inputs_is_quoted_in_part(body, code, field):
    async def handler(request):
        roomy = replace(LIMITS, max_body_bytes=2**23, max_json_bytes=2**20)
        await payloads.read_inputs(request, {"x": TensorSpec("float32", ())}, roomy)

    reply = await exchange(handler, post(body, MSGPACK))

    assert reply.json()["code"] == code
    assert reply.json()["field"].startswith(field)
    assert len(reply.body) < 2000


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x81" + LONG + b"\xc0", MSGPACK),
        (b"\x81\xa5image\x82\xa4data\xc4\x00" + LONG + b"\xc0", MSGPACK),
        (json.dumps({"\x01" * 300_000: 1}).encode(), "application/json"),
        (form((f'name="{"x" * 5000}"', PHOTO)), FORM),
    ],
    ids=["msgpack", "msgpack-inner", "json", "form"],
)
async def test_a_long_name_of_an_unknown_field_is_quoted_in_part(body, content_type):
    async def handler(request):
        await payloads.read_photos(request, replace(LIMITS, max_body_bytes=2**23), fresh)

    reply = await exchange(handler, post(body, content_type))

    assert reply.json()["code"] == "invalid-body"
    assert len(reply.body) < 5000


async def test_the_place_of_an_unknown_field_is_told_from_what_its_name_says():
    body = {"images": [{"data": "", "mine - at `$.elsewhere": 1}]}

    refused = (await refused_photos(json.dumps(body).encode(), "application/json")).json()

    assert refused["field"] == "images[0]"


# garbage


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "x", "dtype", "shape", "data", "parameters", "image"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
documents = st.one_of(
    st.binary(max_size=60),
    json_like.map(lambda value: json.dumps(value).encode()),
    json_like.map(lambda value: json.dumps({"inputs": {"x": value, "n": value}}).encode()),
)


@given(documents)
def test_garbage_in_json_gives_an_example_or_a_refusal(body):
    try:
        parsed = payloads.parse_example(body, "application/json", SPECS)
    except DemitasseError:
        return
    assert parsed.inputs.keys() == SPECS.keys()


@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda value: msgpack.packb({"inputs": {"x": value, "n": value}}),
            st.recursive(
                st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=9),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=9,
            ),
        ),
    )
)
def test_garbage_in_msgpack_gives_an_example_or_a_refusal(body):
    try:
        parsed = payloads.parse_example(body, MSGPACK, SPECS)
    except DemitasseError:
        return
    assert parsed.inputs.keys() == SPECS.keys()


def test_deep_nesting_is_refused_without_a_stack_overflow():
    deep = b'{"inputs": {"x": ' + b"[" * 60_000
    with pytest.raises(InvalidJson):
        payloads.parse_example(deep, "application/json", SPECS)
    with pytest.raises(InvalidMsgpack):
        payloads.parse_example(b"\x81\xa6inputs\x81\xa1x" + b"\x91" * 100_000, MSGPACK, SPECS)
