"""Which URLs a webhook may have. The addresses that a name leads to are checked when something is sent there."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from threadkeep import invalid
from threadkeep.addresses import is_disguised, is_public, literal

# Named in a refusal where it would help.
SETTING = "--webhook-private-addresses"
# A name and its parts, as the domain name system has them; underscores are in use.
_NAME_CHARACTERS_MAX = 253
_LABEL = re.compile("[a-z0-9_-]{1,63}")


def check(url: str, *, allows_private: bool) -> None:
    """Raises `BadRequestError` for an address to which nothing can be sent, or nothing may be."""
    if fault := _fault(url, allows_private=allows_private):
        raise invalid.invalid_value("url", fault)


def _fault(url: str, *, allows_private: bool) -> str | None:
    """What is wrong with it, the first thing only."""
    if " " in url or not url.isprintable():
        return "expected a URL without spaces, line breaks or control characters"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "expected a name or an address behind 'https://'"
    return (
        _fault_of_scheme(parts, allows_private=allows_private)
        or _fault_of_form(parts)
        or _fault_of_host(parts.hostname or "", allows_private=allows_private)
    )


def _fault_of_scheme(parts: SplitResult, *, allows_private: bool) -> str | None:
    if parts.scheme == "https" or (parts.scheme == "http" and allows_private):
        return None
    expected = "expected a URL that begins with 'https://'" + (" or 'http://'" if allows_private else "")
    return f"{expected}; plain http needs {SETTING} on the server" if parts.scheme == "http" else expected


def _fault_of_form(parts: SplitResult) -> str | None:
    if not parts.hostname:
        return f"expected a name or an address behind '{parts.scheme}://'"
    if parts.username is not None or parts.password is not None:
        return "expected a URL without user and password"
    if parts.fragment:
        return "expected a URL without '#' and what follows it"
    if not parts.netloc.isascii():
        return "expected a name in its ASCII form, such as 'xn--mnchen-3ya.example' for 'm\u00fcnchen.example'"
    if not parts.geturl().isascii():
        return "expected other letters than ASCII percent-encoded, such as '%C3%BC' for '\u00fc'"
    try:
        is_port_valid = parts.port != 0
    except ValueError:
        is_port_valid = False
    return None if is_port_valid else "expected a port from 1 to 65535"


def _fault_of_host(host: str, *, allows_private: bool) -> str | None:
    if is_disguised(host):
        return f"expected a name or an address with four numbers, not {host!r}"
    address = literal(host)
    if address is None and not _is_name(host):
        return f"expected a name or an address, not {host!r}"
    is_local = host.removesuffix(".") == "localhost" if address is None else not is_public(address)
    if is_local and not allows_private:
        return f"private addresses are refused, unless the server allows them with {SETTING}"
    return None


def _is_name(host: str) -> bool:
    name = host.removesuffix(".")
    return len(name) <= _NAME_CHARACTERS_MAX and all(map(_LABEL.fullmatch, name.split(".")))
