"""Where no route leads, or none of that method: refused like everything else.

Left to itself, aiohttp answers an `Expect` there before any middleware sees the
request: another expectation with plain text, `100-continue` with an invitation
to upload what nobody will read.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute

from coordinator.http.body import defer_continue


def add_routes(app: web.Application) -> None:
    """To be called when all other routes are there."""
    app.router.register_resource(Nowhere(app.router))


class Nowhere(web.PlainResource):
    """Every path that is asked for in vain: aiohttp comes to "/" last."""

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__("/")
        self._router = router

    async def resolve(
        self, request: web.Request
    ) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        allowed: set[str] = set()
        for resource in self._router.resources():
            if resource is not self:
                allowed |= (await resource.resolve(request))[1]
        refusal = web.HTTPMethodNotAllowed(request.method, allowed) if allowed else None
        return web.UrlMappingMatchInfo({}, Refused(refusal or web.HTTPNotFound())), set()


class Refused(SystemRoute):
    """Raises where the middleware makes a problem of it, whatever is expected."""

    async def handle_expect_header(self, request: web.Request) -> None:
        await defer_continue(request)
