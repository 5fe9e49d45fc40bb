"""Requests that no two of which are alike while they are on their way.

A server may answer equal requests that are in flight with one execution. To
measure work, every request carries a number of eight digits in its body, and
the numbers in flight differ. Both clients read the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

#: Stands once in every body; the clients write numbers over it.
NUMBER = b"10000000"


class Request(NamedTuple):
    path: str
    body: bytes
    headers: Mapping[str, str]

    def write(self, url: str, file: Path) -> int:
        """The request as it goes over the wire, to a file; where its number stands in it."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {urlsplit(url).netloc}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            f"Content-Length: {len(self.body)}",
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        file.write_bytes(head + self.body)
        return len(head) + self.body.index(NUMBER)


def pool(template: bytes, offset: int, size: int) -> list[bytes]:
    """So many requests, alike but for their number."""
    first = int(NUMBER)
    end = offset + len(NUMBER)
    return [
        b"%b%d%b" % (template[:offset], first + number, template[end:]) for number in range(size)
    ]
