"""The table `[[upstreams]]` of the settings: which model servers there are, and what each of them lacks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from threadkeep.errors import CommandError

# Of a model that neither the settings nor its server describe. Small enough for most that are served at home; a wrong
# guess costs old messages or a refusal of the model server, never a broken run.
CONTEXT_TOKENS = 32_768

Feature: TypeAlias = Literal["tools", "parallel_tool_calls", "json_schema", "usage", "max_completion_tokens"]
Count: TypeAlias = Annotated[int, Meta(gt=0)]


# What each key of the table means; the reference page is made of it.
HELP = {
    "name": "What the server is called in messages and in the list of models.",
    "url": "Base URL; `/chat/completions` and `/models` are put behind it.",
    "key": "The key it wants, if any.",
    "key_env": "Instead of `key`: the environment variable that holds it.",
    "key_file": "Instead of `key`: the file that holds it.",
    "models": "Names it is asked for; `*`, `?` and `[...]` stand for parts of a name. Without them it is asked for "
    "every name, or, if it has a `default_model`, for those that it lists itself.",
    "aliases": 'Names that clients use, and those that the server knows: `{ "gpt-4o" = "llama3.1" }`.',
    "default_model": "The model that answers for names which no server has.",
    "context_tokens": "Size of the context window: a number, or one for each pattern of names. "
    f"Without it, what the server's list of models says, or else {CONTEXT_TOKENS}.",
    "lacks": "What the server cannot do, any of: `tools` (they are not sent), `parallel_tool_calls` (not sent), "
    "`json_schema` (the schema is told in words), `usage` (tokens are counted here), `max_completion_tokens` (sent as "
    "`max_tokens`).",
}


class UpstreamSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model server."""

    name: Annotated[str, Meta(min_length=1)]
    url: str
    # At most one of the three.
    key: str = ""
    key_env: str = ""
    key_file: str = ""
    # Patterns of the names it is asked for; without them all, or with a default model those that the server lists.
    models: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    default_model: str = ""
    # One figure, or one for each pattern of names.
    context_tokens: Count | dict[str, Count] | None = None
    lacks: frozenset[Feature] = frozenset()

    def __repr__(self) -> str:
        """Without the key: settings are printed and logged."""
        return f"<upstream {self.name} at {self.url}>"

    def shown(self) -> dict[str, Any]:
        """For `threadkeep settings`: without the key."""
        fields = msgspec.to_builtins(self) | {"key": "***" if self.key else "", "lacks": sorted(self.lacks)}
        return {name: fields[name] for name in self.__struct_fields__ if name not in ("key_env", "key_file")}


def read_table(content: Any, source: str, environ: Mapping[str, str]) -> tuple[UpstreamSettings, ...]:
    """The servers that a TOML file names, with their keys. Raises `CommandError`."""
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise CommandError(f"{source}: upstreams must be tables.", "Begin each with a line [[upstreams]].")
    found = tuple(_read_row(row, f"{source}: {_called(row, number)}", environ) for number, row in enumerate(content))
    names = [upstream.name for upstream in found]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"{source}: there are two upstreams named {name!r}.", "Give each a name of its own.")
    return found


def _called(row: dict[str, Any], number: int) -> str:
    name = row.get("name")
    return f"upstream {name!r}" if name and isinstance(name, str) else f"upstreams[{number}]"


def _read_row(row: dict[str, Any], source: str, environ: Mapping[str, str]) -> UpstreamSettings:
    known = UpstreamSettings.__struct_fields__
    for key in row:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
            raise CommandError(f"{source}: there is no {key!r} in an upstream.", hint)
    try:
        upstream = msgspec.convert(row, UpstreamSettings)
    except msgspec.ValidationError as error:
        raise CommandError(f"{source}: {error}.") from None
    upstream = msgspec.structs.replace(upstream, key=_key_of(upstream, source, environ), key_env="", key_file="")
    check(upstream, source)
    return upstream


def _key_of(upstream: UpstreamSettings, source: str, environ: Mapping[str, str]) -> str:
    given = [name for name in ("key", "key_env", "key_file") if getattr(upstream, name)]
    if len(given) > 1:
        raise CommandError(f"{source}: {given[0]} and {given[1]} are both given.", "Leave one of them out.")
    if upstream.key_env:
        if not environ.get(upstream.key_env, "").strip():
            raise CommandError(f"{source}: the variable {upstream.key_env} is not set.", "Set it to the key.")
        return environ[upstream.key_env].strip()
    if upstream.key_file:
        try:
            return Path(upstream.key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is not UTF-8 text"
            raise CommandError(f"{source}: cannot read {upstream.key_file}: {why}.") from None
    return upstream.key.strip()


def check(upstream: UpstreamSettings, source: str) -> None:
    """Refuses a server that cannot be asked."""
    try:
        parts = urlsplit(upstream.url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise CommandError(f"{source}: {upstream.url!r} is not a URL.", "Give one such as http://127.0.0.1:11434/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CommandError(
            f"{source}: the URL of a model server ends with its path and names no user.", "Give the key as the key."
        )
    if not (upstream.key.isascii() and upstream.key.isprintable()):
        raise CommandError(f"{source}: the key has characters that no header can hold.", "Check where it was copied.")
