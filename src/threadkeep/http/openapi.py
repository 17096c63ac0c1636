"""`/openapi.json`, generated from the route table and the wire types, so that it cannot drift from the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from threadkeep import __version__, idempotency
from threadkeep.http.endpoint import PREFIXES, Route
from threadkeep.http.routes import ROUTES, VERSION_PREFIX

REFERENCE = "#/components/schemas/{name}"
ERROR_STATUSES = {
    "400": "The request is wrong; `message` says how.",
    "401": "No key, or an unknown one.",
    "404": "No such object in the key's project.",
    "413": "The body is over the limit.",
    "429": "A limit of the key or project is reached; `Retry-After` says when to come back.",
    "503": "The server is overloaded or its storage is unavailable.",
}
KEY_STATUSES = {"409": "The `Idempotency-Key` was used for another request before."}
ERROR_SCHEMA = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(routes: Sequence[Route] = ROUTES) -> dict[str, Any]:
    """The OpenAPI 3.1 description of every route."""
    types = list(dict.fromkeys(t for route in routes for t in (route.body, route.query, route.result) if t))
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(VERSION_PREFIX + route.path, {})
        operations[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Threadkeep",
            "version": __version__,
            "description": "OpenAI's Assistants API, self-hosted. What is marked *ours* the original did not have.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR_SCHEMA},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    noun = route.operation.__module__.rpartition(".")[2]
    operation: dict[str, Any] = {
        "operationId": f"{noun}.{route.operation.__name__.rstrip('_')}",
        "tags": [noun],
        "summary": route.summary,
        "description": (route.operation.__doc__ or "").strip(),
        "x-ours": route.ours,
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(route, components),
            *_header_parameters(route),
        ],
        "responses": {
            "200": {"description": "OK", "content": _answers(route, schema_of)},
            **{
                status: {"description": text, "content": _json({"$ref": REFERENCE.format(name="Error")})}
                for status, text in (ERROR_STATUSES | (KEY_STATUSES if route.takes_key else {})).items()
            },
        },
    }
    if route.body:
        required = bool(components[route.body.__name__].get("required"))
        operation["requestBody"] = {"required": required, "content": _json(schema_of[route.body])}
    if route.takes_stream:
        operation["requestBody"] = {"required": True, "content": _LINES}
    return operation


# One JSON object a line.
_LINES = {"application/x-ndjson": {"schema": {"type": "string"}}}


def _answers(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    return {**_json(schema_of[route.result]), **_events(route)} if route.result else _LINES


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _events(route: Route) -> dict[str, Any]:
    """What each event of a stream is made of; this version of OpenAPI has no word for the stream itself."""
    event = {
        "type": "object",
        "description": "One of the Server-Sent Events, where they were asked for.",
        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
        "required": ["event", "data"],
    }
    return {"text/event-stream": {"schema": event}} if route.streams else {}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", **({"pattern": f"^{PREFIXES[name]}_"} if name in PREFIXES else {})},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _query_parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    if not route.query:
        return []
    parameters = []
    for name, schema in components[route.query.__name__]["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": False, "schema": schema}
        if schema.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        parameters.append(parameter)
    return parameters


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    names = [*route.headers, *((idempotency.HEADER,) if route.takes_key else ())]
    return [{"name": name, "in": "header", "required": False, "schema": {"type": "string"}} for name in names]
