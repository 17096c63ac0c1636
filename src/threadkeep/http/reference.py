"""The reference page at `/docs`: plain HTML made from the OpenAPI description, no script, nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0a6e5c; }
@media (prefers-color-scheme: dark) { :root { --accent: #5fd3bc; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 2rem 1.2rem 6rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 3rem; text-transform: capitalize; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; }
summary { cursor: pointer; padding: .7rem 1rem; } summary code { font-weight: 600; }
details > div { padding: 0 1rem 1rem; } a { color: var(--accent); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .35rem .6rem .35rem 0;
border-bottom: 1px solid var(--line); vertical-align: top; }
.method { display: inline-block; min-width: 4.6rem; color: var(--accent); }
.ours { border: 1px solid var(--accent); color: var(--accent); border-radius: 1rem; padding: 0 .5rem;
font-size: .78rem; } .muted { opacity: .75; }
"""


def page(document: dict[str, Any]) -> str:
    """The whole page for an OpenAPI document."""
    operations: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            html = _operation(document, method.upper(), path, operation)
            operations.setdefault(operation["tags"][0], []).append(html)
    sections = "".join(
        f'<section id="{tag}"><h2>{tag}</h2>{"".join(items)}</section>' for tag, items in operations.items()
    )
    objects = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>Threadkeep API</title><style>{_STYLE}</style>"
        f"<header><h1>Threadkeep API</h1><p class=muted>{escape(document['info']['version'])} · "
        "<a href=/openapi.json>openapi.json</a></p>"
        "<p>The official SDKs work as they are: set <code>base_url</code> to this server's "
        "<code>/v1</code>. Operations marked <span class=ours>ours</span> are not in the original.</p></header>"
        f"<main>{sections}<section id=objects><h2>Objects</h2>{objects}</section></main></html>"
    )


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    ours = " <span class=ours>ours</span>" if operation["x-ours"] else ""
    parameters = "".join(
        _row(parameter["name"], parameter["in"], parameter["schema"], required=parameter["required"])
        for parameter in operation["parameters"]
    )
    body = operation.get("requestBody")
    fields = _fields(document, body["content"]["application/json"]["schema"]) if body else ""
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return (
        f"<details id='{escape(operation['operationId'])}'><summary><code><span class=method>{method}</span>"
        f"{escape(path)}</code> <span class=muted>{escape(operation['summary'])}</span>{ours}</summary><div>"
        f"<p>{escape(operation['description'])}</p>"
        + (f"<table><tr><th>Parameter<th>In<th>Type</tr>{parameters}{fields}</table>" if parameters or fields else "")
        + f"<p>Answers {_type(answer)}.</p>"
        f"<pre>{escape(_curl(method, path, has_body=body is not None))}</pre></div></details>"
    )


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> str:
    component = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    required = component.get("required", [])
    return "".join(
        _row(name, "body", field, required=name in required) for name, field in component["properties"].items()
    )


def _row(name: str, where: str, schema: dict[str, Any], *, required: bool) -> str:
    needed = " <span class=muted>required</span>" if required else ""
    return f"<tr><td><code>{escape(name)}</code>{needed}<td>{where}<td>{_type(schema)}</tr>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(kind)}</tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    title = escape(schema.get("title", name))
    return (
        f"<details id='{escape(name)}'><summary><code>{title}</code></summary>"
        f"<div><table>{rows}</table></div></details>"
    )


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the objects on this page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{escape(name)}'>{escape(name)}</a>"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(option) for option in options)
    if "enum" in schema:
        return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        text = f"array of {_type(schema.get('items', {}))}"
    elif isinstance(schema.get("additionalProperties"), dict):
        text = f"map to {_type(schema['additionalProperties'])}"
    else:
        text = escape(kind if isinstance(kind, str) else " or ".join(kind))
    return text + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "from {}",
        "maximum": "to {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {}",
        "maxItems": "at most {}",
        "maxProperties": "at most {} pairs",
    }
    limits = [form.format(schema[name]) for name, form in words.items() if name in schema]
    if schema.get("default") not in (None, [], {}):
        limits.append(f"default {escape(json.dumps(schema['default']))}")
    return f" <span class=muted>({', '.join(limits)})</span>" if limits else ""


def _curl(method: str, path: str, *, has_body: bool) -> str:
    verb = "" if method in {"GET", "POST"} else f" -X {method}"
    lines = [f'curl{verb} "$THREADKEEP_URL{path}"', '  -H "Authorization: Bearer $THREADKEEP_API_KEY"']
    if has_body:
        body = '{"role": "user", "content": "Hello"}' if path.endswith("/messages") else '{"metadata": {"user": "me"}}'
        lines.append(f"  -H \"Content-Type: application/json\" -d '{body}'")
    return " \\\n".join(lines)
