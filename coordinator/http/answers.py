"""Replies as aiohttp's responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from coordinator.http import replies
from coordinator.http.replies import Reply


def write_answer(request: web.Request, answer: Mapping[str, Any]) -> web.Response:
    """The answer in the format that the caller accepts; see `replies.answer`."""
    accepted = ", ".join(request.headers.getall(hdrs.ACCEPT, ()))
    return respond(replies.answer(answer, accepted or None))


def respond(reply: Reply) -> web.Response:
    """The reply, for an aiohttp handler to return."""
    headers = {hdrs.CONTENT_TYPE: reply.content_type}
    if reply.retry_after is not None:
        headers[hdrs.RETRY_AFTER] = str(reply.retry_after)
    return web.Response(status=reply.status, body=reply.body, headers=headers)
