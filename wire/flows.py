"""On whose behalf an example is computed, and how urgently: what queues keep their order by.

A flow is one caller's examples of one class. Callers name themselves and are
believed; whoever does not is known by the address that it calls from.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from wire.quoting import quoted

CLASS_HEADER = "Demitasse-Class"
CALLER_HEADER = "Demitasse-Caller"
#: The classes, most urgent first; their numbers on the wire count from 0.
CLASSES = ("interactive", "bulk", "shadow")
CALLER_PATTERN = "[A-Za-z0-9._:@-]{1,64}"


class Flow(NamedTuple):
    """One caller's examples of one class."""

    rank: int = 0
    """Of the class, in `CLASSES`."""
    caller: int = 0
    """64 bits that stand for the caller's name."""
    weight: float = 1.0
    """The caller's share of the device beside that of others; above 0, finite."""


#: That of whoever said nothing and has no address.
ANYBODY = Flow()


class InvalidFlow(ValueError):
    """A header is not what it may be; the text is for whoever sent it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def rank_of(name: str) -> int:
    """The rank of the class of this name. Raises InvalidFlow."""
    if name not in CLASSES:
        known = ", ".join(CLASSES)
        raise InvalidFlow(CLASS_HEADER, f"{quoted(name)} is no class; there is {known}")
    return CLASSES.index(name)


def checked_caller(name: str) -> str:
    """A caller's name as it was sent. Raises InvalidFlow."""
    if not re.fullmatch(CALLER_PATTERN, name):
        raise InvalidFlow(
            CALLER_HEADER, f"{quoted(name)} is no caller's name: 1 to 64 of A-Z a-z 0-9 . _ : @ -"
        )
    return name


@lru_cache(maxsize=4096)
def caller_number(name: str) -> int:
    """The 64 bits that stand for this name, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
