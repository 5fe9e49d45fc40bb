"""Who may ask what: every route of both listeners, and no other.

A route is served because it stands here, not because a handler was registered:
one that was added elsewhere and forgotten here keeps the process from starting.
What a listener as a whole asks of its callers is `guard`'s.
"""

from __future__ import annotations

from aiohttp import hdrs, web

Routes = frozenset[tuple[str, str]]

#: For whoever reaches the public port.
PUBLIC: Routes = frozenset(
    {
        ("POST", "/analyze"),
        ("POST", "/models/{name}/infer"),
        ("POST", "/models/{name}/versions/{version}/infer"),
        ("GET", "/models"),
        ("GET", "/models/{name}"),
        ("GET", "/models/{name}/versions/{version}"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    }
)

#: For operators: on loopback, or with the key.
ADMIN: Routes = frozenset(
    {
        ("GET", "/livez"),
        ("GET", "/metrics"),
        ("GET", "/fleet"),
        ("GET", "/requests/{id}"),
        ("GET", "/models/{name}/history"),
        ("PATCH", "/models/{name}/settings"),
        ("DELETE", "/models/{name}/settings"),
        ("PUT", "/models/{name}/aliases/{alias}"),
        ("DELETE", "/models/{name}/aliases/{alias}"),
        ("PUT", "/models/{name}/versions/{version}/serving"),
    }
)


def routes_of(app: web.Application) -> Routes:
    """Method and path of everything that an application answers; HEAD goes with GET."""
    return frozenset(
        (route.method, route.resource.canonical if route.resource is not None else "")
        for route in app.router.routes()
        if route.method != hdrs.METH_HEAD
    )


def refuse_unlisted(app: web.Application, listed: Routes) -> None:
    """Raises RuntimeError where the application answers more than is listed."""
    unlisted = routes_of(app) - listed
    if unlisted:
        raise RuntimeError(f"nobody said who may ask these: {sorted(unlisted)}")
