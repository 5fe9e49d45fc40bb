"""Who may ask a host for what, by the way on which they come.

On the Unix socket, the user that the host runs as, for everything; by default nobody
else, for nothing. Over TCP, whoever knows the secret, for a link; load balancers may
ask whether it lives.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

from minion.host.problems import problem
from wire.credentials import is_our_own

LINK = "/link"
#: Tells nothing of what is served here.
_FOR_ANYBODY = ("/livez", "/readyz")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_local(request: web.Request) -> bool:
    """Whether it came by the Unix socket."""
    connection: socket.socket = request.get_extra_info("socket")
    return connection.family == socket.AF_UNIX


@web.middleware
async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
    if is_local(request):
        allowed = is_our_own(request.get_extra_info("socket"))
    else:
        allowed = request.path == LINK or request.path in _FOR_ANYBODY
    if not allowed:
        return problem(403, "forbidden", "not for this user, or not by this way")
    return await handler(request)
