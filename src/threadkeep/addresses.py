"""Which network addresses are the public internet's, and which lead into a network of somebody's own."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

# The IPv6 range in public use, and the prefix that NAT64 translates to IPv4.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_HEXADECIMAL = re.compile("0x[0-9a-f]*")


def literal(host: str) -> Address | None:
    """The address that a URL's host spells out; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_disguised(host: str) -> bool:
    """Whether a host that is no literal ends in a number: some programs take `127.1` or `0x7f000001` for an address.

    No name does, so whoever is told of an address this way must refuse it, and not leave it to what connects.
    """
    last = host.removesuffix(".").rpartition(".")[2].lower()
    is_number = last.isascii() and last.isdigit()
    return literal(host) is None and (is_number or _HEXADECIMAL.fullmatch(last) is not None)


def is_public(address: Address) -> bool:
    """Whether it leads out, also where an address of IPv4 stands inside one of IPv6."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if inner is None and address in _TRANSLATED:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return is_public(inner)
    if inner is not None and not is_public(inner):
        return False
    return address.ipv4_mapped is not None or (address in _UNICAST and address.is_global)
