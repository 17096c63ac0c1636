"""Who is behind a proxy: `X-Forwarded-For` and `-Proto`, believed from the addresses that a setting names."""

from __future__ import annotations

import ipaddress

from threadkeep.http.exchange import Request


class TrustedProxies:
    """The proxies of `forwarded_allow_ips`: addresses, networks, or `*` for everybody."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._everybody = "*" in allowed
        self._networks = [ipaddress.ip_network(address) for address in allowed if address != "*"]

    def client_of(self, request: Request) -> str:
        """The client's address: the last one that no trusted proxy has; empty when it is not known."""
        if not self.trusts(request.peer):
            return request.peer
        chain = request.headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        # Only what is an address: the rest is not for logs.
        addresses = [text for text in map(str.strip, chain) if _address(text)]
        if self._everybody:
            return addresses[0] if addresses else request.peer
        strangers = [address for address in addresses if not self.trusts(address)]
        return strangers[-1] if strangers else request.peer

    def scheme_of(self, request: Request) -> str:
        """How the client speaks to the proxy, or to us."""
        scheme = request.headers.get(b"x-forwarded-proto", b"").strip().lower()
        return "https" if scheme == b"https" and self.trusts(request.peer) else "http"

    def trusts(self, address: str) -> bool:
        """Whether what a peer at `address` says of its clients is believed."""
        if self._everybody or not self._networks:
            return self._everybody
        place = _address(address)
        return place is not None and any(place in network for network in self._networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text spells, if any."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both kinds shows the one kind as the other, such as ::ffff:10.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
