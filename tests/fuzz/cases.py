"""Requests that nobody should send: each follows from the seed and its number alone."""

from __future__ import annotations

import base64
import gzip
import json
import math
import random
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from tests.fuzz.images import files

JSON, MSGPACK, BYTES = "application/json", "application/msgpack", "application/octet-stream"
FORM = "multipart/form-data; boundary=cut"
PATHS = ("/analyze", "/models/gate/infer", "/models/picture/infer")
#: What parsers stumble over.
TOKENS = (
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\r\n",
    b"\r\n\r\n",
    b"--cut",
    b"--cut--",
    b'"',
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]" * 9,
    b"[" * 600,
    b'{"a":' * 600,
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"0." + b"9" * 400,
    b"1E400",
    b"null",
    b"\x90" * 300,
    b"\x91" * 600,
    b"\x81\xa1a" * 600,
    b"\xc1",
    b"\xc6\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\x7f\xff\xff\xff",
    b"\xd6\xff\0\0\0\0",
    b"\xcb\x7f\xf8" + b"\0" * 6,
    b"%00",
    b"%ff",
    b"%",
    b"../..",
    b"data:image/png;base64,",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
)
_FIELDS: dict[str, tuple[bytes, ...]] = {
    "Content-Type": (
        b"",
        b";",
        b"application/json; charset=utf-16",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary="\xff"',
        b"image/\xff",
        b"image/png",
        b"text/html",
        b"IMAGE/JPEG",
        b"application/json\x7f",
        b"a/b/c",
        b"\xe9/x",
        b"application/x-msgpack",
        b"application/octet-stream; x=" + b"y" * 3000,
    ),
    "Accept": (b"application/msgpack", b"msgpack", b"*/*;q=x", b"\xff", b""),
    "Demitasse-Timeout": (
        b"0",
        b"-1",
        b"nan",
        b"inf",
        b"1e-9",
        b"1e9",
        b"1_0",
        b"0x1",
        b"\xd9\xa1",
        b"",
        b"0.001",
        b"9" * 500,
    ),
    "Demitasse-Class": (b"bulk", b"shadow", b"interactive", b"BULK", b"", b"\xff", b"x" * 900),
    "Demitasse-Caller": (b"ada", b"", b"\xff\xfe", b"a b", b"x" * 4000, b"../etc"),
    "X-Request-Id": (b"ok", b"\xff", b"a b", b"x" * 200, b"<script>", b"", b'"}{'),
    "Content-Encoding": (b"gzip", b"deflate", b"br", b"gzip, gzip", b"identity", b"", b"\xff"),
    "Expect": (b"100-continue", b"200-ok", b"", b"\xff"),
    "Connection": (b"close", b"upgrade", b"keep-alive, \xff"),
    "Upgrade": (b"websocket", b"h2c", b"demitasse"),
    "Origin": (b"null", b"http://\xff"),
    "Cookie": (b"a=b; c=\xff", b"=" * 2000),
    "TE": (b"trailers",),
    "Host": (b"", b"\xff", b"a b", b"[::1", b"x" * 300),
}
_QUERIES = (
    b"?timeout=nan",
    b"?timeout=",
    b"?timeout=1&timeout=2",
    b"?models=gate@",
    b"?models=%ff%fe",
    b"?models=picture,picture",
    b"?models=" + b"a," * 500,
    b"?require=x",
    b"?optional=picture",
    b"?%ff=1",
    b"?\xff=1",
    b"?a=%00",
    b"?%ED%A0%80=1",
    b"?models=picture@1.0.0",
    b"?=&&=",
    b"?#",
    b"?models=../..",
    b"?models=picture&require=%F0%9F%98%80",
    b"?models[]=x",
    b"?timeout=%31",
)
_TARGETS = (
    b"/models/%67ate/infer",
    b"/models/gate/versions/\xff/infer",
    b"/models/%ff/infer",
    b"//",
    b"*",
    b"/models/../livez",
    b"/models/gate%2finfer",
    b"http://x/livez",
    b"/models/%00",
    b"/readyz",
    b"/models/gate/versions/1.0.0/infer",
    b"/models/picture/versions/99999999999999/infer",
    b"/models",
    b"/models/gate/versions/%ED%A0%80",
    b"/openapi.json?%ff",
    b"/metrics",
    b"/" + b"a/" * 2000,
    b"",
    b"/fleet",
    b"/models/gate/settings",
    b"http://[::1/x",
    b"http://x:99999/livez",
    b"//[/x",
    b"/%",
)
_METHODS = (
    b"GET",
    b"PUT",
    b"HEAD",
    b"OPTIONS",
    b"DELETE",
    b"CONNECT",
    b"TRACE",
    b"PATCH",
    b"post",
    b"PRI",
    b"M-SEARCH",
    b"\xff",
    b"",
    b"POST\t",
)

_VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.9", b"HTTP/0.9", b"x", b"")
_LINES = (
    b"A: b", b"A : b", b": b", b"A", b" folded", b"A: \0", b"A:\xff", b"Content-Length: 0",
    b"Content-Length: +1", b"Content-Length: 1_0", b"Content-Length: 5", b"Host: y",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: x",
    b"Upgrade: websocket", b"Connection: upgrade", b"Connection: close", b"Expect: 100-continue",
)  # fmt: skip
_FRAMINGS = (
    b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\nx", b"-1\r\n",
    b"5;" + b"x" * 500 + b"\r\nhello\r\n0\r\nA: b\r\n\r\n", b"5\nhello\n0\n\n", b"hello",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip


class Case(NamedTuple):
    number: int
    kind: str
    data: bytes
    """As it goes over the connection."""


class Cases:
    """Makes cases; the same ones again from the same seed."""

    def __init__(self, seed: str, *, admin: bool = False) -> None:
        """
        Args:
            admin: for the admin port, and not for the public one.
        """
        self.seed = seed
        self._kinds: tuple[Callable[[random.Random], bytes], ...] = (
            (change, change, change, raw_for_admin)
            if admin
            else (
                *(photo, photo, form, form, listed_photos),
                *(numbers, numbers, packed, tensor, raw),
            )
        )

    def case(self, number: int) -> Case:
        chance = random.Random(f"{self.seed}/{number}")
        kind = chance.choice(self._kinds)
        return Case(number, kind.__name__, kind(chance))


def photo(chance: random.Random) -> bytes:
    body = mutated(chance, chance.choice(files()))
    path = chance.choice((*PATHS, PATHS[2]))
    return request(chance, path, chance.choice((b"image/png", b"image/jpeg", BYTES.encode())), body)


def form(chance: random.Random) -> bytes:
    parts = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5, 40, 90))):
        name = chance.choice((b"image", b"images", b"file", b"x", b"\xff", b'a\\"b', b""))
        header = b'Content-Disposition: form-data; name="' + name + b'"'
        header += chance.choice((b"", b'; filename="a.png"', b"; filename*=utf-8''%ff%00", b"; a"))
        parts.append(b"--cut\r\n" + header + b"\r\n\r\n" + chance.choice(files()) + b"\r\n")
    body = b"".join(parts) + b"--cut--\r\n"
    return request(chance, PATHS[0], FORM.encode(), maybe_mutated(chance, body))


def listed_photos(chance: random.Random) -> bytes:
    def one() -> Any:
        file = chance.choice(files())
        text = base64.b64encode(file).decode()
        text = chance.choice((text, text, text[:-1], text + "\n", "data:image/png;base64," + text))
        return chance.choice((text, {"data": text}, {"data": text, "name": value(chance, 2)}))

    body = chance.choice(
        ({"image": one()}, {"images": [one() for _ in range(chance.choice((0, 1, 3, 40)))]})
    )
    if chance.random() < 0.1:
        body["more"] = value(chance, 3)
    return request(
        chance, PATHS[0], JSON.encode(), maybe_mutated(chance, json.dumps(body).encode())
    )


def numbers(chance: random.Random) -> bytes:
    body = json.dumps(infer_body(chance)).encode()
    return request(chance, PATHS[1], JSON.encode(), maybe_mutated(chance, body))


def packed(chance: random.Random) -> bytes:
    body = msgpack.packb(infer_body(chance), datetime=False)
    path = chance.choice(PATHS)
    return request(chance, path, MSGPACK.encode(), maybe_mutated(chance, body))


def tensor(chance: random.Random) -> bytes:
    size = chance.choice((0, 1, 4, 8, 192, 193, 4000, 40_000))
    return request(chance, chance.choice(PATHS), BYTES.encode(), chance.randbytes(size))


def raw(chance: random.Random) -> bytes:
    """HTTP that is odd in a few places of its head or its framing."""
    odd = chance.random
    method = chance.choice(_METHODS) if odd() < 0.3 else b"GET"
    target = chance.choice(_TARGETS)
    version = chance.choice(_VERSIONS) if odd() < 0.15 else b"HTTP/1.1"
    lines = [b" ".join((method, target, version)), b"Host: x"]
    lines += [chance.choice(_LINES) for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 120)))]
    end = chance.choice((b"\n", b"\r")) if odd() < 0.1 else b"\r\n"
    body = chance.choice(_FRAMINGS) if odd() < 0.3 else b""
    whole = end.join(lines) + end + end + body
    return mutated(chance, whole) if odd() < 0.3 else whole


def raw_for_admin(chance: random.Random) -> bytes:
    return raw(chance).replace(b"Host: x", b"Host: localhost", 1)


def change(chance: random.Random) -> bytes:
    """What an operator asks, with something that is not as it should be."""
    odd = (
        "",
        "gate",
        "none",
        "..",
        "%00",
        "%ff",
        "a" * 300,
        "decoder",
        "1.0.0",
        "01.0.0",
        "1",
        "-",
    )
    model = chance.choice(("gate", "gate", "gate", "picture", *odd))
    alias, version = chance.choice(("default", "canary", *odd)), chance.choice(("1.0.0", *odd))
    known = chance.random() < 0.7
    verdict = chance.choice((True, False)) if known else value(chance, 2)
    method, path, body = chance.choice(
        (
            ("PATCH", f"/models/{model}/settings", settings_body(chance)),
            ("PATCH", f"/models/{model}/settings", settings_body(chance)),
            ("DELETE", f"/models/{model}/settings", None),
            (
                "PUT",
                f"/models/{model}/aliases/{alias}",
                {"version": version if known else value(chance, 2)},
            ),
            ("DELETE", f"/models/{model}/aliases/{alias}", None),
            ("PUT", f"/models/{model}/versions/{version}/serving", {"serving": verdict}),
            ("GET", f"/models/{model}/history", None),
            ("GET", f"/requests/{model}", None),
            ("GET", "/fleet", None),
            ("PUT", "/models/gate/settings", value(chance, 4)),
        )
    )
    if chance.random() < 0.1:
        body = value(chance, 4)
    data = b"" if body is None else json.dumps(body).encode()
    if chance.random() < 0.3:
        data = mutated(chance, data)
    return request(chance, path, JSON.encode(), data, method=method.encode(), host=b"localhost")


def settings_body(chance: random.Random) -> Any:
    names = ("queue_limit", "promise_seconds", "max_batch_size", "max_queue_delay_seconds")
    body = {}
    for _ in range(chance.randrange(4)):
        body[chance.choice(names)] = chance.choice((1, 8, 0.5, 0, True, value(chance, 2)))
    return body


def infer_body(chance: random.Random) -> Any:
    x: Any = chance.choice(([1, 2.5], [], [[1]], [1, "a"], [True], None, {}, value(chance, 4)))
    if chance.random() < 0.3:
        data = chance.randbytes(8)
        x = {
            "dtype": chance.choice(("float32", "float64", "bool", "object", "x", 1, None)),
            "shape": chance.choice(([2], [-1], [2**62, 4], [0], [2.0], [], "2", [1] * 99)),
            "data": chance.choice((base64.b64encode(data).decode(), "?", "=", None, [1])),
        }
    body: dict[str, Any] = {"inputs": {chance.choice(("x", "x", "x", "y", "", "image")): x}}
    if chance.random() < 0.4:
        body["parameters"] = value(chance, 5)
    return body if chance.random() < 0.9 else value(chance, 5)


def value(chance: random.Random, depth: int) -> Any:
    """Anything that JSON or MessagePack can say, and some that they should not."""
    kind = chance.randrange(9 if depth else 7)
    if kind == 7:
        return [value(chance, depth - 1) for _ in range(chance.randrange(5))]
    if kind == 8:
        keys = ("", "x", "data", "\u2028", "a.b", "$")
        return {chance.choice(keys): value(chance, depth - 1) for _ in range(chance.randrange(4))}
    return (
        chance.choice((0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1)),
        chance.choice((0.0, -0.0, 1e308, 5e-324, math.nan, math.inf, -math.inf)),
        chance.choice(("", "a", "\0", "\u2028", "\U0001f600", "x" * 5000)),
        None,
        True,
        [],
        {},
    )[kind]


def maybe_mutated(chance: random.Random, data: bytes) -> bytes:
    return mutated(chance, data) if chance.random() < 0.6 else data


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut, doubled, or something thorny put in."""
    buffer = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(buffer) + 1)
        what = chance.randrange(6)
        if what == 0 and at < len(buffer):
            buffer[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            buffer[at : at + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
        elif what == 2:
            del buffer[at:]
        elif what == 3:
            buffer[at:at] = chance.choice(TOKENS)
        elif what == 4:
            buffer[at:at] = buffer[at : at + chance.choice((1, 16, 400))]
        else:
            del buffer[at : at + chance.choice((1, 4, 64))]
    return bytes(buffer)


def request(
    chance: random.Random,
    path: str,
    media_type: bytes,
    body: bytes,
    *,
    method: bytes = b"POST",
    host: bytes = b"x",
) -> bytes:
    """A request with this body, and some fields that are not as they should be."""
    fields = {b"Host": host, b"Content-Type": media_type}
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        name = chance.choice(sorted(_FIELDS))
        fields[name.encode()] = chance.choice(_FIELDS[name])
    target = path.encode() + (chance.choice(_QUERIES) if chance.random() < 0.15 else b"")
    if fields.get(b"Content-Encoding") in (b"gzip", b"deflate") and chance.random() < 0.8:
        body = (gzip if fields[b"Content-Encoding"] == b"gzip" else zlib).compress(body)
        body = maybe_mutated(chance, body) if chance.random() < 0.3 else body
    if chance.random() < 0.15:
        fields[b"Transfer-Encoding"] = b"chunked"
        body = in_chunks(chance, body)
    else:
        fields[b"Content-Length"] = b"%d" % len(body)
    lines = [
        method + b" " + target + b" HTTP/1.1",
        *(b"%b: %b" % field for field in fields.items()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def in_chunks(chance: random.Random, body: bytes) -> bytes:
    pieces, position = [], 0
    while position < len(body):
        piece = body[position : position + chance.choice((1, 7, 1000, 60_000))]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        position += len(piece)
    whole = b"".join(pieces) + b"0\r\n\r\n"
    return maybe_mutated(chance, whole) if chance.random() < 0.3 else whole
