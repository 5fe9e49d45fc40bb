"""Which format a caller would rather have its answer in, by its `Accept` (RFC 9110, 12.5.1).

There are two. MessagePack is for those who prefer it, and, where they like both as
well, for those who name it: browsers and most clients send `*/*` and read JSON. Who
accepts neither is answered in JSON all the same, as the RFC permits. Called by `replies`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from coordinator.http.media_types import JSON, MSGPACK_NAMES

_JSON = frozenset({JSON})
#: From the most telling to the least: what names a type goes before what means several.
_WILDCARDS = ("application/*", "*/*")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


@lru_cache(maxsize=256)
def prefers_msgpack(accept: str) -> bool:
    """Whether an answer is to be MessagePack. The usual headers are remembered.

    Args:
        accept: the header; of several the values, with commas between.
    """
    weights = dict(_weights(accept))
    json, msgpack = _weight_of(_JSON, weights), _weight_of(MSGPACK_NAMES, weights)
    return msgpack > json or (msgpack == json > 0 and not MSGPACK_NAMES.isdisjoint(weights))


def _weight_of(names: frozenset[str], weights: dict[str, float]) -> float:
    named = [weights[name] for name in names if name in weights]
    if named:
        return max(named)
    return next((weights[each] for each in _WILDCARDS if each in weights), 0.0)


def _weights(accept: str) -> Iterable[tuple[str, float]]:
    """The ranges of types, in lower case, with what each weighs. What is no weight is none."""
    for part in accept.lower().split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        given = [each[2:] for each in parameters if each.startswith("q=")]
        weight = given[0] if given else "1"
        if _WEIGHT.fullmatch(weight):
            yield kind, float(weight)
