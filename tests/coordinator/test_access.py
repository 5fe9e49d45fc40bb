"""coordinator/http/access.py: every route of both listeners, and who may ask it."""

from __future__ import annotations

import pytest
from aiohttp import web
from stage import Stage

from coordinator.app import create_admin_app, create_public_app
from coordinator.http.access import ADMIN, PUBLIC, refuse_unlisted, routes_of


async def test_each_listener_answers_what_is_listed_and_nothing_else(stage: Stage) -> None:
    rooms, settings = (await stage.coordinator()).rooms, stage.settings

    assert routes_of(create_public_app(settings, rooms)) == PUBLIC
    assert routes_of(create_admin_app(settings, rooms)) == ADMIN


async def test_what_changes_anything_is_on_the_admin_listener_alone() -> None:
    changing = {(method, path) for method, path in PUBLIC if method != "GET"}

    assert {path.rpartition("/")[2] for _, path in changing} == {"analyze", "infer"}


async def test_an_application_with_a_route_that_is_not_listed_is_refused() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/livez", answer)
    refuse_unlisted(app, PUBLIC)
    app.router.add_delete("/livez", answer)

    with pytest.raises(RuntimeError, match="DELETE"):
        refuse_unlisted(app, PUBLIC)


@pytest.mark.parametrize(("method", "path"), sorted(ADMIN - PUBLIC))
async def test_the_public_listener_does_not_know_the_admin_routes(
    stage: Stage, method: str, path: str
) -> None:
    coordinator = await stage.coordinator()

    answer = await coordinator.client.request(method, path)

    assert answer.json()["code"] in {"unknown-route", "method-not-allowed"}
