"""How the URL of a database is shown: to logs, banners and messages, where a password has no place."""

from __future__ import annotations

import re

HIDDEN = "***"
# What of a URL's query is no secret; any other name may be one that a driver learns tomorrow.
_HARMLESS = {"host", "port", "user", "dbname", "database", "sslmode"}
# One or more hosts with their ports, or nothing: what may stand before the path when nobody is named.
_HOSTS = re.compile(r"[^:/]*(:\d+)?(,[^:/]*(:\d+)?)*|\[[^\]]*\](:\d+)?")


def shown(url: str) -> str:
    """The URL without what may be secret. Of one that is not well formed nothing but the scheme is left."""
    if url.startswith("sqlite:"):
        return url
    scheme, mark, rest = url.partition("://")
    if not mark:
        # Not a URL at all: a slip, or the `host=... password=...` of other programs.
        return HIDDEN if "@" in url or "=" in url else url
    place, mark, query = rest.partition("?")
    who, at, where = place.rpartition("@")
    if not at and ("@" in query or not _HOSTS.fullmatch(where.partition("/")[0])):
        return f"{scheme}://{HIDDEN}"
    name, colon, _ = who.partition(":")
    return f"{scheme}://{name}{colon and f':{HIDDEN}'}{at}{where}{mark}{'&'.join(map(_shown_value, query.split('&')))}"


def _shown_value(item: str) -> str:
    name, equals, value = item.partition("=")
    if not item or (name in _HARMLESS and "@" not in value):
        return item
    return f"{name}={HIDDEN}" if equals else HIDDEN
