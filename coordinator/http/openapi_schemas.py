"""What bodies and answers of the public API are made of, as schemas for its OpenAPI document."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def record(properties: dict[str, Schema], *optional: str) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
BINARY: Schema = {}
"""Any bytes: what OpenAPI 3.1 has in place of `format: binary`."""

TENSOR = record({"dtype": TEXT, "shape": array(INTEGER), "data": BASE64})
NAMED_IMAGE = record({"name": TEXT, "data": BASE64}, "name")
IMAGE = {"oneOf": [BASE64, ref("NamedImage")]}
PHOTOS = {
    "oneOf": [record({"image": IMAGE}), record({"images": array(IMAGE) | {"minItems": 1}})],
}
EXAMPLE = record(
    {
        "inputs": mapping({"oneOf": [NUMBER, FLAG, {"type": "array"}, ref("Tensor")]}),
        "parameters": {"type": "object"},
    },
    "parameters",
)
TIMELINE = mapping(NUMBER) | {"description": "Milliseconds per phase."}
PREDICTION = {
    "version": TEXT,
    "output": {"type": "object", "description": "As the model's output_schema says."},
    "batch_size": INTEGER,
    "replica": TEXT,
    "timeline_ms": ref("Timeline"),
    "cached": FLAG | {"description": "True where the answer was remembered; else absent."},
    "shared": FLAG
    | {"description": "True where it was computed for another request; else absent."},
}
NOT_COMPUTED = ("cached", "shared")
PENDING = {
    "const": True,
    "description": "The answer left without it: it was not ready within the timeout, or optional.",
}
MODEL_ANSWER = {
    "oneOf": [
        record(PREDICTION, *NOT_COMPUTED),
        record({"version": TEXT, "error": ref("Problem")}),
        record({"version": TEXT, "pending": PENDING}),
    ]
}
IMAGE_ANSWER = record(
    {
        "name": {"type": ["string", "null"]},
        "width": INTEGER,
        "height": INTEGER,
        "format": TEXT,
        "models": mapping(ref("ModelAnswer")),
        "timeline_ms": ref("Timeline"),
        "error": ref("Problem"),
    },
    "width",
    "height",
    "format",
    "models",
    "timeline_ms",
    "error",
)
ANALYSIS = record(
    {
        "request_id": TEXT,
        "images": array(ref("ImageAnswer")),
        "timeline_ms": ref("Timeline"),
    }
)
INFERENCE = record({"request_id": TEXT, "model": TEXT, **PREDICTION}, *NOT_COMPUTED)
VERSION_SUMMARY = {
    "version": TEXT,
    "digest": TEXT,
    "published_at": {"type": "string", "format": "date-time"},
    "serving": FLAG,
    "ready": FLAG,
    "notes": TEXT,
}
SCHEMAS = {
    "input_schema": {"type": "object"},
    "output_schema": {"type": "object"},
    "takes_photo": FLAG,
    "quality": {
        "oneOf": [
            {"type": "null"},
            record({"metric": TEXT, "value": NUMBER, "data": TEXT}),
        ]
    },
}
MODEL_SUMMARY = {
    "name": TEXT,
    "description": TEXT,
    "default": {"type": ["string", "null"]},
    "analyze": FLAG,
    "aliases": mapping(TEXT),
    "settings": {
        "oneOf": [
            {"type": "null"},
            record(
                {
                    "queue_limit": {"type": ["integer", "null"]},
                    "promise_seconds": {"type": ["number", "null"]},
                    "max_batch_size": INTEGER,
                    "max_queue_delay_seconds": NUMBER,
                }
            ),
        ]
    },
    "versions": array(ref("VersionSummary")),
}
SECONDS = {"type": "number", "minimum": 0, "description": "Seconds."}
ADMISSION = {
    "replica": TEXT,
    "occupied": INTEGER,
    "limit": INTEGER,
    "batch_limit": {
        "type": ["integer", "null"],
        "description": "The largest batch, where memory ran out with a larger one that is tuned.",
    },
    "workers": INTEGER,
    "seconds_alone": SECONDS,
    "seconds_per_example": SECONDS,
    "promise": {
        "oneOf": [
            {"type": "null"},
            record(
                {
                    "seconds": SECONDS,
                    "workers": INTEGER,
                    "batch_size": INTEGER,
                    "alone_seconds": SECONDS,
                    "batch_seconds": SECONDS,
                    "deviation": NUMBER,
                    "uncertainty": NUMBER,
                    "delay_seconds": SECONDS,
                    "standing": FLAG,
                }
            ),
        ]
    },
}
PROBLEM = record(
    {
        "type": {"type": "string", "format": "uri"},
        "title": TEXT,
        "status": INTEGER,
        "detail": TEXT,
        "code": {"type": "string", "description": "Stable; docs/errors.md lists them."},
        "retryable": FLAG,
        "request_id": TEXT,
        "field": TEXT,
        "retry_after": {"type": "number", "description": "Seconds."},
    },
    "request_id",
    "field",
    "retry_after",
)
COMPONENTS: dict[str, Schema] = {
    "Photos": PHOTOS,
    "NamedImage": NAMED_IMAGE,
    "Example": EXAMPLE,
    "Tensor": TENSOR,
    "Analysis": ANALYSIS,
    "ImageAnswer": IMAGE_ANSWER,
    "ModelAnswer": MODEL_ANSWER,
    "Inference": INFERENCE,
    "Model": record(MODEL_SUMMARY),
    "ModelDetail": record(MODEL_SUMMARY | SCHEMAS | {"admission": array(ref("Admission"))}),
    "Admission": record(ADMISSION),
    "VersionSummary": record(VERSION_SUMMARY),
    "VersionDetail": record({"name": TEXT, **VERSION_SUMMARY, "aliases": array(TEXT), **SCHEMAS}),
    "Timeline": TIMELINE,
    "Problem": PROBLEM,
}
