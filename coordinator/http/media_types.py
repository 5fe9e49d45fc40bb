"""The kinds of body that are read and written, by the names that callers give them.

In lower case and without parameters. Nothing is read here: who takes which is said by
`express`, `errands`, `native` and `payloads`, and who writes which by `replies`.
"""

from __future__ import annotations

JSON = "application/json"
MSGPACK = "application/msgpack"
MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"
IMAGES = "image/*"
PROBLEM_JSON = "application/problem+json"
#: MessagePack, by the names that are in use; the last is the registered one.
MSGPACK_NAMES = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})
#: Formats in which a tensor's numbers may stand one by one.
NUMBERS = MSGPACK_NAMES | {JSON}


def is_photo(media_type: str) -> bool:
    """Whether the body is a photo's file as it is; what it really holds, the image tier finds."""
    return media_type.startswith("image/")
