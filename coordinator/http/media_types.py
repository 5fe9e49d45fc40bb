"""The kinds of body that are read and written, by the names that callers give them.

Names are in lower case and without parameters.
"""

from __future__ import annotations

JSON = "application/json"
MSGPACK = "application/msgpack"
MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"
IMAGES = "image/*"
PROBLEM_JSON = "application/problem+json"
#: MessagePack, and the names that it had before it was registered.
MSGPACK_NAMES = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})
#: Formats in which a tensor's numbers may stand one by one.
NUMBERS = MSGPACK_NAMES | {JSON}


def is_photo(media_type: str) -> bool:
    """Whether the body is a photo's file as it is; what it really holds, the image tier finds."""
    return media_type.startswith("image/")
