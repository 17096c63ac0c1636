"""Where the values of settings come from, and what is wrong with them together.

A value comes from the first of: flag `--name`, variable `THREADKEEP_NAME` (a secret also from the file that
`THREADKEEP_NAME_FILE` names), TOML file (`--config`), default. Where no model server is named, it comes from the
variables of OpenAI's own clients.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from threadkeep import upstream_settings
from threadkeep.errors import CommandError
from threadkeep.settings import ENV_PREFIX, FILE_SUFFIX, Settings, table

# How alike an unknown variable and a setting must be to be taken for a slip.
SIMILARITY_MIN = 0.75
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
# What the client libraries of OpenAI's API read, so that one set of variables serves both.
_OPENAI_URL, _OPENAI_KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
_OPENAI_HOST = "api.openai.com"


def load(flags: Mapping[str, str], environ: Mapping[str, str], config: str = "") -> tuple[Settings, dict[str, str]]:
    """The settings and, for each name, where its value came from. Raises `CommandError`."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = config or environ.get(ENV_PREFIX + "CONFIG", "")
    from_file = _read_file(path) if path else {}
    for setting in table():
        name = setting.name
        file_variable = setting.variable + FILE_SUFFIX
        if setting.is_table:
            sources[name] = path if name in from_file else "default"
            values[name] = upstream_settings.read_table(from_file.get(name, []), path, environ)
        elif name in flags:
            sources[name] = setting.flag
            values[name] = setting.parse(flags[name], setting.flag)
        elif setting.variable in environ:
            sources[name] = setting.variable
            values[name] = setting.parse(environ[setting.variable], setting.variable)
        elif setting.secret and file_variable in environ:
            sources[name] = file_variable
            values[name] = _read_text(environ[file_variable])
        elif name in from_file:
            sources[name] = path
            values[name] = setting.check(from_file[name], path)
        else:
            sources[name] = "default"
        if setting.secret and name in values:
            values[name] = _not_blank(values[name], sources[name])
    _refuse_slips(environ)
    _use_openai_variables(values, sources, environ)
    settings = Settings(**values)
    _check_addresses(settings, sources)
    _check_upstream(settings, sources)
    return settings, sources


def _use_openai_variables(values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]) -> None:
    """The variables of OpenAI's own clients name the model server where no setting does."""
    url = environ.get(_OPENAI_URL, "").strip()
    if url and not values.get("upstream_url") and not values["upstreams"] and not _is_here(url, Settings(**values)):
        values["upstream_url"], sources["upstream_url"] = url, _OPENAI_URL
    key = environ.get(_OPENAI_KEY, "").strip()
    asked = values.get("upstream_url", "")
    # Never a key of OpenAI for a server that somebody else runs.
    is_meant = sources["upstream_url"] == _OPENAI_URL or _host_of(asked) == _OPENAI_HOST
    if key and asked and is_meant and not values.get("upstream_key"):
        values["upstream_key"], sources["upstream_key"] = key, _OPENAI_KEY


def _host_of(url: str) -> str | None:
    """The host of what may be no URL: that is told later."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_here(url: str, settings: Settings) -> bool:
    """Whether a URL is this server's own: the variable was set for programs that use it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return port == settings.port and parts.hostname in {settings.host, "localhost", "127.0.0.1", "::1"}


def _check_upstream(settings: Settings, sources: Mapping[str, str]) -> None:
    if settings.upstream_url:
        upstream_settings.check(settings.model_servers[-1], sources["upstream_url"])
        if _is_here(settings.upstream_url, settings):
            raise CommandError(
                f"{sources['upstream_url']}: {settings.upstream_url} is this server itself.",
                "Name the server that has the models.",
            )
        return
    for name in ("upstream_key", "upstream_model"):
        if getattr(settings, name):
            raise CommandError(f"{sources[name]}: there is no model server for it.", "Name one with --upstream-url.")


def _not_blank(secret: str, source: str) -> str:
    if not secret.strip():
        # An empty key would open the server to everyone who thinks it is closed.
        raise CommandError(f"{source} is empty.", "Leave it out, or put a key there.")
    return secret.strip()


def _refuse_slips(environ: Mapping[str, str]) -> None:
    settings = [setting for setting in table() if not setting.is_table]
    known = [setting.name.upper() for setting in settings]
    known += [f"{setting.name.upper()}{FILE_SUFFIX}" for setting in settings if setting.secret]
    for variable in environ:
        name = variable.removeprefix(ENV_PREFIX)
        if name == variable or name in known:
            continue
        if name == "UPSTREAMS":
            raise CommandError(
                f"{variable}: model servers stand in the file.", "For a single one: THREADKEEP_UPSTREAM_URL."
            )
        if near := difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY_MIN):
            raise CommandError(f"There is no setting {variable}.", f"Did you mean {ENV_PREFIX}{near[0]}?")


def _check_addresses(settings: Settings, sources: Mapping[str, str]) -> None:
    for origin in settings.cors_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise CommandError(
                f"{sources['cors_origins']}: {origin!r} is not an origin.", "Give one such as https://app.example.com."
            )
    for address in settings.forwarded_allow_ips:
        try:
            _ = address == "*" or ipaddress.ip_network(address)
        except ValueError:
            raise CommandError(
                f"{sources['forwarded_allow_ips']}: {address!r} is not an address.", "Give one such as 127.0.0.1."
            ) from None


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {os.strerror(error.errno or 0)}.") from None


def _read_file(path: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(_read_text(path))
    # What is raised for a number of too many digits is none of TOML's own errors.
    except ValueError as error:
        raise CommandError(f"{path} is not valid TOML: {error}.") from None
    known = [setting.name for setting in table()]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise CommandError(
                f"{path}: there is no setting {key!r}.",
                f"Did you mean {near[0]!r}?" if near else "`threadkeep settings` lists them all.",
            )
    return content
