"""Who may speak to the admin API: programs, and no page that an operator's browser has open.

On loopback the listener may do without a key, but a browser on the same machine
reaches it on behalf of any site: under that site's own name, once its DNS points
here (rebinding), or across origins. Such requests are refused here, before any
handler; that bodies are JSON is `admin`'s part. That there is a key where the
listener is not on loopback is `config`'s.
"""

from __future__ import annotations

import hmac
import ipaddress
import re

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from coordinator.errors import ForeignOrigin, MisdirectedRequest, Unauthenticated
from wire.quoting import quoted

#: A name or an IPv4 address, or in brackets an IPv6 address, and perhaps a port.
_HOST = re.compile(r"(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::[0-9]{1,5})?")


def programs_only(own_name: str, key: str) -> Middleware:
    """A middleware for the admin application.

    Args:
        key: what `Authorization: Bearer` has to bring; empty: nothing.
        own_name: what the listener is called, beside `localhost` and any IP address. No
            site can take a name that is none of its own, and an address is no name.
    """
    names = frozenset({"localhost", own_name.lower()})

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = ", ".join(request.headers.getall(hdrs.HOST, ())).lower()
        if not _is_own(host, names):
            raise MisdirectedRequest(
                f"the admin API is not called {quoted(host)}; "
                f"use an IP address or one of {', '.join(sorted(names))}",
                field="Host",
            )
        for origin in request.headers.getall(hdrs.ORIGIN, ()):
            if origin.lower() != f"http://{host}":
                raise ForeignOrigin(
                    f"a page of {quoted(origin)} may not use the admin API", field="Origin"
                )
        if key and not _brings(request, key):
            raise Unauthenticated(field="Authorization")
        return await handler(request)

    return guard


def _brings(request: web.Request, key: str) -> bool:
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), key.encode())
    return same and scheme.lower() == "bearer"


def _is_own(host: str, names: frozenset[str]) -> bool:
    """Whether a `Host` in lower case is an address or one of these names."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name, address = match.groups()
    if name in names:
        return True
    try:
        ipaddress.IPv6Address(address) if name is None else ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
