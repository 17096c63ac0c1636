"""The reference page at `/docs`: plain HTML made from the OpenAPI description, no script, nothing from elsewhere."""

from __future__ import annotations

import json
import re
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


_CODE = re.compile(r"`([^`]+)`")
# How a generic type is spelled in the name of its schema.
_GENERIC = re.compile(r"^(\w+)_(\w+)_$")


# What a request of that address needs at least; any other takes metadata.
_SMALL_BODIES = {
    "messages": '{"role": "user", "content": "Hello"}',
    "assistants": '{"model": "gpt-4o", "instructions": "You teach."}',
}


def page(document: dict[str, Any], url: str) -> str:
    """The whole page for an OpenAPI document; `url` is where the server is."""
    operations: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            html = _operation(document, method.upper(), path, operation, _curl(method.upper(), url + path, operation))
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


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any], curl: str) -> str:
    ours = " <span class=ours>ours</span>" if operation["x-ours"] else ""
    parameters = "".join(
        _row(*shown_parameter(parameter), required=parameter["required"]) for parameter in operation["parameters"]
    )
    body = operation.get("requestBody")
    fields = _fields(document, schema) if body and (schema := json_schema(body)) else ""
    return (
        f"<details id='{escape(operation['operationId'])}'><summary><code><span class=method>{method}</span>"
        f"{escape(path)}</code> <span class=muted>{escape(operation['summary'])}</span>{ours}</summary><div>"
        f"<p>{_prose(operation['description'])}</p>"
        + (f"<table><tr><th>Parameter<th>In<th>Type</tr>{parameters}{fields}</table>" if parameters or fields else "")
        + f"<p>Answers {_answer_in_words(operation)}.</p>"
        f"<pre>{escape(curl)}</pre></div></details>"
    )


def shown_parameter(parameter: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Name, place and schema of a parameter; of a map, those of one entry."""
    name, place, schema = parameter["name"], parameter["in"], parameter["schema"]
    if parameter.get("style") == "deepObject":
        return f"{name}[key]", place, schema["additionalProperties"]
    return name, place, schema


def _prose(text: str) -> str:
    """A docstring as HTML: what stands in backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> str:
    component = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    required = component.get("required", [])
    return "".join(
        _row(name, "body", field, required=name in required) for name, field in component["properties"].items()
    )


def _row(name: str, where: str, schema: dict[str, Any], *, required: bool) -> str:
    needed = " <span class=muted>required</span>" if required else ""
    place = f"<td>{where}" if where else ""
    return f"<tr><td><code>{escape(name)}</code>{needed}{place}<td>{type_in_words(schema)}{limits_of_enum(schema)}</tr>"


def limits_of_enum(schema: dict[str, Any]) -> str:
    """What `type_in_words` leaves out for a closed set of values: the default."""
    return _limits(schema) if "enum" in schema else ""


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = "".join(
        _row(field, "", kind, required=field in schema.get("required", []))
        for field, kind in schema.get("properties", {}).items()
    )
    title = escape(schema.get("title", name))
    return f"<h3 id='{escape(name)}'><code>{title}</code></h3><table>{rows}</table>"


def type_in_words(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the objects on this page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        shown = _GENERIC.sub(r"\1[\2]", name)
        return f"<a href='#{escape(name)}'>{escape(shown)}</a>"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(word for option in options for word in type_in_words(option).split(" or ")))
    if "enum" in schema:
        return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        text = f"array of {type_in_words(schema.get('items', {}))}"
    elif isinstance(schema.get("additionalProperties"), dict):
        text = f"map to {type_in_words(schema['additionalProperties'])}"
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


def json_schema(described: dict[str, Any]) -> dict[str, Any] | None:
    """What JSON a body has; None for lines of JSON."""
    content = described["content"].get("application/json")
    return content["schema"] if content else None


def _answer_in_words(operation: dict[str, Any]) -> str:
    """What an operation gives."""
    schema = json_schema(operation["responses"]["200"])
    return type_in_words(schema) if schema else "lines of JSON"


def _curl(method: str, url: str, operation: dict[str, Any]) -> str:
    verb = "" if method in {"GET", "POST"} else f" -X {method}"
    filters = [p for p in operation["parameters"] if p.get("style") == "deepObject"]
    query = f"?{filters[0]['name']}[user]=me" if filters else ""
    lines = [f'curl{" -g" if query else ""}{verb} "{url}{query}"', '  -H "Authorization: Bearer $THREADKEEP_KEY"']
    if "requestBody" in operation and not json_schema(operation["requestBody"]):
        lines.append("  -T export.jsonl")
    elif "requestBody" in operation:
        body = _SMALL_BODIES.get(url.rpartition("/")[2], '{"metadata": {"user": "me"}}')
        lines.append(f"  -H \"Content-Type: application/json\" -d '{body}'")
    return " \\\n".join(lines)
