"""coordinator/http/multipart.py: bytes in, parts out."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import DemitasseError, InvalidMultipart, PayloadTooLarge
from coordinator.http.multipart import MAX_PART_HEADER_BYTES, Part, boundary_of, split


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    sent = b"".join(
        f"--{boundary}\r\n{header}\r\n\r\n".encode() + data + b"\r\n" for header, data in parts
    )
    return sent + f"--{boundary}--\r\n".encode()


def disposition(rest: str) -> str:
    return f"Content-Disposition: form-data; {rest}"


def parts_of(body: bytes, max_parts: int = 10) -> list[Part]:
    return split(body, b"b", max_parts=max_parts)


def test_parts_come_in_order_with_their_names():
    body = form(
        (disposition('name="image"; filename="a.jpg"') + "\r\nContent-Type: image/jpeg", b"AAA"),
        (disposition('name="note"'), b""),
    )

    assert parts_of(body) == [Part("image", "a.jpg", b"AAA"), Part("note", None, b"")]


def test_data_may_hold_anything_that_is_no_boundary():
    data = b"\r\n--c\r\n--\r\nb--\x00\xff\r\n"

    assert parts_of(form((disposition("name=x"), data)))[0].data == data


def test_a_preamble_and_an_epilogue_are_skipped():
    body = b"This is a message\r\n" + form((disposition("name=x"), b"1")) + b"the end"

    assert [bytes(part.data) for part in parts_of(body)] == [b"1"]


def test_a_boundary_line_may_be_padded():
    assert parts_of(b"--b \t\r\nA: b\r\n\r\n1\r\n--b--")[0].data == b"1"


def test_a_part_without_headers_or_data():
    assert parts_of(b"--b\r\n\r\n--b--") == [Part(None, None, b"")]


def test_a_form_without_parts_is_an_empty_list():
    assert parts_of(b"--b--") == []


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ('name="i"; filename="two words.jpg"', "two words.jpg"),
        ("name=i; filename=plain.jpg", "plain.jpg"),
        ('name="i"; filename="semi;colon=.jpg"', "semi;colon=.jpg"),
        (r'name="i"; filename="a\"b.jpg"', 'a"b.jpg'),
        ('name="i"; filename="a%22b.jpg"', 'a"b.jpg'),
        ('name="i"; filename="ä 日本.jpg"', "ä 日本.jpg"),
        ("name=i; filename=x.jpg; filename*=UTF-8''%C3%A4.jpg", "ä.jpg"),
        ('name="i"; filename=""', ""),
    ],
)
def test_file_names_as_clients_write_them(parameters, filename):
    (part,) = parts_of(form((disposition(parameters), b"1")))

    assert (part.name, part.filename) == ("i", filename)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b",
        b"--b\r\n",
        b"--bX\r\nA: b\r\n\r\n1\r\n--b--",
        b"--b\r\nA: b\r\n\r\n1",
        b"--b\r\nA: b\r\n\r\n1\r\n--b",
        b"--b\r\nno colon\r\n\r\n1\r\n--b--",
        b"--b\r\nA: b",
        b"--b" + b" " * 100_000 + b"\r\n",
        b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--b--',
        b"--b\r\nContent-Disposition: form-data; filename*=utf-8''%ff\r\n\r\n1\r\n--b--",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_form_is_refused(body):
    with pytest.raises(InvalidMultipart):
        parts_of(body)


def test_a_transfer_encoding_is_refused():
    body = form((disposition("name=x") + "\r\nContent-Transfer-Encoding: base64", b"YWI="))

    with pytest.raises(InvalidMultipart, match="base64"):
        parts_of(body)


def test_as_many_parts_as_allowed_and_no_more():
    three = form(*[(disposition("name=x"), b"1")] * 3)

    assert len(parts_of(three, max_parts=3)) == 3
    with pytest.raises(PayloadTooLarge, match="2 parts"):
        parts_of(three, max_parts=2)


def test_a_part_with_an_endless_header_is_refused():
    body = b"--b\r\nA: " + b"x" * MAX_PART_HEADER_BYTES * 2

    with pytest.raises(PayloadTooLarge, match="part 0"):
        parts_of(body)


def test_data_is_a_view_of_the_body():
    body = form((disposition("name=x"), b"12345"))

    assert parts_of(body)[0].data.obj is body


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b;c"', b"a b;c"),
        ("multipart/form-data; charset=utf-8; Boundary=abc", b"abc"),
    ],
)
def test_the_boundary_is_found(header, boundary):
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"x; boundary={'a' * 71}",
        "; boundary=ä",
    ],
)
def test_without_a_boundary_nothing_is_read(header):
    with pytest.raises(InvalidMultipart):
        boundary_of(header)


pieces = st.sampled_from(
    [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b"A: b", b"--", b"b", b" ", b"\t", b":", b"\xff"]
)
disordered = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=20).map(b"".join))


@given(disordered)
def test_garbage_gives_parts_or_a_refusal(body):
    try:
        for part in parts_of(body):
            assert part.data.obj is body
    except DemitasseError:
        pass


@given(st.text(max_size=200))
def test_a_garbled_content_type_gives_a_boundary_or_a_refusal(header):
    with contextlib.suppress(InvalidMultipart):
        assert 1 <= len(boundary_of(header)) <= 70


@given(st.lists(st.binary(max_size=50).filter(lambda data: b"--b" not in data), max_size=5))
def test_what_was_put_together_comes_apart(datas):
    body = form(*[(disposition("name=x"), data) for data in datas])

    assert [bytes(part.data) for part in parts_of(body)] == datas
