"""The public API as an OpenAPI 3.1 document, at `GET /openapi.json`.

Kept by hand, since the handlers carry no types that a generator could read;
tests hold it to the routes, the table of statuses and a snapshot. What one
model takes and returns is not here: it differs by version, and
`GET /models/{name}` has it as JSON Schema.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from coordinator.http.body import defer_continue
from coordinator.http.head import TIMEOUT_HEADER
from coordinator.http.inflate import WINDOW_BITS
from coordinator.http.media_types import BYTES, IMAGES, JSON, MSGPACK, MULTIPART, PROBLEM_JSON
from coordinator.http.openapi_schemas import (
    BINARY,
    COMPONENTS,
    FLAG,
    TEXT,
    Schema,
    array,
    mapping,
    record,
    ref,
)
from wire import names
from wire.flows import CALLER_HEADER, CALLER_PATTERN, CLASS_HEADER, CLASSES


def add_routes(app: web.Application) -> None:
    app.router.add_get("/openapi.json", show, expect_handler=defer_continue)


async def show(request: web.Request) -> web.Response:
    return web.Response(body=_ENCODED, content_type=JSON)


FORM = record({"image": {"oneOf": [BINARY, array(BINARY)]}})
PHOTO_BODIES = {
    IMAGES: {"schema": BINARY},
    BYTES: {"schema": BINARY},
    MULTIPART: {"schema": FORM},
    JSON: {"schema": ref("Photos")},
    MSGPACK: {"schema": ref("Photos")},
}
EXAMPLE_BODIES = {
    JSON: {"schema": ref("Example")},
    MSGPACK: {"schema": ref("Example")},
    BYTES: {"schema": BINARY},
    IMAGES: {"schema": BINARY},
    MULTIPART: {"schema": FORM},
}
TIMEOUTS = [
    {
        "name": name,
        "in": place,
        "description": "Seconds until the caller no longer cares.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    }
    for name, place in (("timeout", "query"), (TIMEOUT_HEADER, "header"))
]
HEADERS = [
    {
        "name": CLASS_HEADER,
        "in": "header",
        "description": "How urgent it is beside other requests that wait.",
        "schema": {"type": "string", "enum": list(CLASSES), "default": CLASSES[0]},
    },
    {
        "name": CALLER_HEADER,
        "in": "header",
        "description": "For whom it is: callers share each model. Without it, the peer's address.",
        "schema": {"type": "string", "pattern": f"^{CALLER_PATTERN}$"},
    },
    {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body was compressed, once.",
        "schema": {"type": "string", "enum": ["identity", *WINDOW_BITS]},
    },
]
REFERENCES = {
    "name": "models",
    "in": "query",
    "description": "Which models: name, name@3, name@3.1, name@3.1.0 or name@alias, with commas "
    "between. Without it: those marked for /analyze.",
    "schema": TEXT,
    "example": "tagger,aesthetics@2,caption@1.3.0",
}
REQUIRED = {
    "name": "require",
    "in": "query",
    "description": "Names of models without whose answer the whole request fails.",
    "schema": TEXT,
}
OPTIONAL = {
    "name": "optional",
    "in": "query",
    "description": "Names of models that are not waited for once all the others have answered.",
    "schema": TEXT,
}


def _path(name: str, pattern: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": TEXT | {"pattern": f"^{pattern}$"},
    }


NAME = _path("name", names.NAME, "A model's name.")
VERSION = _path("version", names.SELECTOR, "A version, the beginning of one, or an alias.")

#: What a route that takes a body can answer beside its own; docs/errors.md has the codes.
BODY_PROBLEMS = (400, 404, 408, 413, 415, 417, 422, 429, 431, 500, 503, 504)


def _operation(
    summary: str,
    answer: Schema | None,
    *,
    body: Schema | None = None,
    parameters: list[Schema] | None = None,
    problems: tuple[int, ...] = (500,),
) -> Schema:
    content = {"text/plain": {"schema": TEXT}}
    if answer is not None:
        content = {kind: {"schema": answer} for kind in (JSON, MSGPACK)}
    responses: Schema = {"200": {"description": "Answered.", "content": content}}
    for status in problems:
        kind = "Overloaded" if status in (429, 503) else "Problem"
        responses[str(status)] = {"$ref": f"#/components/responses/{kind}"}
    operation: Schema = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _infer(*path: Schema) -> Schema:
    return _operation(
        "One model's answer to its own input",
        ref("Inference"),
        body=EXAMPLE_BODIES,
        parameters=[*path, *TIMEOUTS, *HEADERS],
        problems=BODY_PROBLEMS,
    )


_PROBLEM_CONTENT = {PROBLEM_JSON: {"schema": ref("Problem")}}
DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Demitasse",
        "version": "1",
        "summary": "Many people's deep-learning models behind one HTTP API.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    },
    "paths": {
        "/analyze": {
            "post": _operation(
                "Photos through every model that is asked for",
                ref("Analysis"),
                body=PHOTO_BODIES,
                parameters=[REFERENCES, REQUIRED, OPTIONAL, *TIMEOUTS, *HEADERS],
                problems=BODY_PROBLEMS,
            )
        },
        "/models/{name}/infer": {"post": _infer(NAME)},
        "/models/{name}/versions/{version}/infer": {"post": _infer(NAME, VERSION)},
        "/models": {
            "get": _operation("What there is", record({"models": array(ref("Model"))})),
        },
        "/models/{name}": {
            "get": _operation(
                "One model, and what its default version takes and returns",
                ref("ModelDetail"),
                parameters=[NAME],
                problems=(400, 404, 500),
            )
        },
        "/models/{name}/versions/{version}": {
            "get": _operation(
                "One version, and what it takes and returns",
                ref("VersionDetail"),
                parameters=[NAME, VERSION],
                problems=(400, 404, 500),
            )
        },
        "/livez": {"get": _operation("The process answers", None)},
        "/readyz": {
            "get": _operation(
                "It should get traffic",
                record({"ready": FLAG, "models": mapping(FLAG)}),
                problems=(500, 503),
            )
        },
        "/metrics": {"get": _operation("Prometheus' text format", None)},
        "/openapi.json": {"get": _operation("This document", {"type": "object"})},
    },
    "components": {
        "schemas": COMPONENTS,
        "responses": {
            "Problem": {
                "description": "docs/errors.md has the codes.",
                "content": _PROBLEM_CONTENT,
            },
            "Overloaded": {
                "description": "No room, or nobody serves it now: come back at this time.",
                "headers": {
                    "Retry-After": {
                        "description": "Whole seconds, at least 1.",
                        "schema": {"type": "integer", "minimum": 1},
                    }
                },
                "content": _PROBLEM_CONTENT,
            },
        },
    },
}
_ENCODED = msgspec.json.encode(DOCUMENT)
