"""A decoder's refusals as ours: which of them it is, and where in the body.

What msgspec says is written for developers; here it is taken apart. Called by
`payloads` and `photo_lists`, with decoders of the types that they accept.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from coordinator.errors import InvalidBase64, InvalidBody, InvalidJson, InvalidMsgpack
from wire.tensor import Buffer


def decode(decoder: Any, body: Buffer, malformed: type[InvalidJson | InvalidMsgpack]) -> Any:
    """The body as the decoder's type.

    Raises:
        InvalidJson, InvalidMsgpack: `malformed`.
        InvalidBody, InvalidBase64: naming the place.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        _refuse_content(str(error))
    except RecursionError as error:
        raise malformed("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(f"{error} (of {len(body)} bytes)") from error


def _refuse_content(message: str) -> NoReturn:
    """msgspec writes what is wrong, then ` - at `, then the place as a path from `$`.

    What is wrong may quote a key of any length, and anything may be in that.
    """
    reason, _, place = message.rpartition(" - at `$.")
    if not reason:
        reason, place = message, ""
    field = place.rstrip("`") or None
    if reason.startswith("Invalid base64"):
        raise InvalidBase64(
            f"{field} is not base64 (RFC 4648, section 4: padded, no line breaks, no data: prefix)",
            field=field,
        )
    raise InvalidBody(reason, field=field)
