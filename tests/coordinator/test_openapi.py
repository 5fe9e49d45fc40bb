"""coordinator/http/openapi.py: held to the routes, the statuses and a snapshot."""

import json
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.http import native, openapi
from coordinator.http.replies import STATUS

SNAPSHOT = Path(__file__).with_name("openapi.json")


def routes() -> set[tuple[str, str]]:
    app = web.Application()
    native.add_routes(app)
    return {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_document_is_what_the_snapshot_says():
    """After a change that is meant: python tests/coordinator/test_openapi.py"""
    assert json.loads(SNAPSHOT.read_text()) == openapi.DOCUMENT


def test_the_document_has_every_route_and_no_other():
    documented = {
        (path, method)
        for path, operations in openapi.DOCUMENT["paths"].items()
        for method in operations
    }

    assert documented == routes() | {("/openapi.json", "get")}


def test_every_reference_leads_somewhere():
    for reference in references(openapi.DOCUMENT):
        place = openapi.DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def test_every_schema_is_used():
    used = {reference.rpartition("/")[2] for reference in references(openapi.DOCUMENT)}

    assert set(openapi.COMPONENTS) <= used


def test_problems_have_statuses_that_the_table_has():
    assert set(openapi.BODY_PROBLEMS) <= set(STATUS.values())


def test_every_path_parameter_is_declared():
    for path, operations in openapi.DOCUMENT["paths"].items():
        for operation in operations.values():
            declared = {
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "path"
            }
            assert declared == {step[1:-1] for step in path.split("/") if step.startswith("{")}


async def test_it_is_served():
    app = web.Application()
    openapi.add_routes(app)

    async with TestClient(TestServer(app)) as client, client.get("/openapi.json") as response:
        assert response.content_type == "application/json"
        assert await response.json() == openapi.DOCUMENT


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(openapi.DOCUMENT, indent=1) + "\n")
