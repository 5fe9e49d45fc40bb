"""A host's refusals over HTTP, as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web


def problem(
    status: int,
    code: str,
    detail: str,
    retry_after_seconds: float | None = None,
    numbers: Mapping[str, float] | None = None,
) -> web.Response:
    body: dict[str, Any] = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    body.update(numbers or {})
    headers = {}
    if retry_after_seconds is not None and status in (429, 503, 504):
        body["retry_after"] = retry_after_seconds
        headers["Retry-After"] = str(max(1, -int(-retry_after_seconds // 1)))
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )
