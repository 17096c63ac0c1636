"""Which addresses a webhook may have; those that a name leads to are looked at when it is told."""

from __future__ import annotations

from urllib.parse import urlsplit

from threadkeep import invalid
from threadkeep.addresses import is_disguised, is_public, literal


def check(url: str, *, allows_private: bool) -> None:
    """Refuses what cannot be told anything, or must not be."""
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        is_url = False
    schemes = ("https", "http") if allows_private else ("https",)
    if not is_url or parts.scheme not in schemes or parts.username or parts.password or parts.fragment:
        raise invalid.invalid_value(
            "url",
            f"expected an address such as {schemes[0]}://app.example.com/hook, without user and fragment"
            + ("" if allows_private else "; plain http needs --webhook-private-addresses on the server"),
        )
    host = parts.hostname or ""
    if is_disguised(host):
        raise invalid.invalid_value("url", f"expected a name or an address with four numbers, not {host!r}")
    address = literal(host)
    is_local = host.removesuffix(".") == "localhost" if address is None else not is_public(address)
    if is_local and not allows_private:
        raise invalid.invalid_value(
            "url", "private addresses are refused, unless the server allows them with --webhook-private-addresses"
        )
