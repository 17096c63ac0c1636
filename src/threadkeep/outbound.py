"""The HTTP client, for model servers and webhooks, and the one place that knows which library it is.

Why this one: docs/decisions/0012-aiohttp-for-model-servers.md.
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import ResolveResult

from threadkeep.addresses import Address, is_disguised, literal

# A body that says what went wrong, or which models there are, has an end.
BODY_BYTES_MAX = 4 * 1024 * 1024
KEEP_ALIVE_S = 30


# The first: we may not connect to it.
BreakKind: TypeAlias = Literal["private address", "name not found", "TLS failed", "no connection"]


class ConnectionBrokenError(Exception):
    """No connection could be made, or it ended before the answer did. `at_once`: another try may be made at once.
    `kind` says it in a word or two, for who may not know more.
    """

    def __init__(self, why: str, *, at_once: bool = False, kind: BreakKind = "no connection") -> None:
        super().__init__(why)
        self.at_once = at_once
        self.kind = kind


class Response:
    """An answer whose head has come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """What has come since the last time, as soon as there is something; nothing at the end."""
        content = self._response.content
        try:
            return await content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # What came ahead of the break is still there; the public ways to it raise what this one did.
            if left := content._read_nowait(-1):  # noqa: SLF001
                return left
            if isinstance(error, TimeoutError):
                raise
            raise ConnectionBrokenError(f"{type(error).__name__}: {error}") from None

    async def body(self) -> bytes:
        """All that is left, up to a limit."""
        pieces, size = [], 0
        while size < BODY_BYTES_MAX and (piece := await self.read()):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Closes the connection at once, unless the whole answer was read; then it is kept for the next request."""
        self._response.close()


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`.

    aiohttp's `trust_env` would look for it again at each request, in a helper OS thread, and send what .netrc says.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


class _RefusedAddressError(OSError):
    """We may not connect to it."""


class _Resolver(aiohttp.ThreadedResolver):
    """Looks names up, and refuses those with an address to which we may not connect."""

    def __init__(self, may_connect: Callable[[Address], bool]) -> None:
        super().__init__()
        self._may_connect = may_connect

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for result in found:
            address = literal(result["host"])
            if address is None or not self._may_connect(address):
                raise _RefusedAddressError(host)
        return found


def _kind_of(error: Exception) -> BreakKind:
    if isinstance(getattr(error, "os_error", None), _RefusedAddressError):
        return "private address"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not found"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    return "no connection"


class HttpClient:
    """Connections to model servers and webhooks. Certificates are those of the system.

    `may_connect` says which addresses are connected to; what names lead to is checked too.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float,
        idle_timeout_s: float,
        may_connect: Callable[[Address], bool] | None = None,
    ) -> None:
        self._may_connect = may_connect
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_read=idle_timeout_s)

    async def open(self) -> None:
        """Gets ready on the running event loop."""
        resolver = _Resolver(self._may_connect) if self._may_connect else None
        self._session = aiohttp.ClientSession(
            # How many runs go on at once is limited elsewhere.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=ssl.create_default_context(), keepalive_timeout=KEEP_ALIVE_S, resolver=resolver
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Compressed text could unfold to any size.
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": "threadkeep"},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, proxy: str | None = None
    ) -> Response:
        """Sends a request and waits for the head of the answer. Raises `ConnectionBrokenError` and `TimeoutError`."""
        if self._may_connect:
            host = urlsplit(url).hostname or ""
            address = literal(host)
            if is_disguised(host) or (address and not self._may_connect(address)):
                raise ConnectionBrokenError("a private address", kind="private address")
        try:
            response = await self._session.request(
                method, url, headers=headers, data=body, proxy=proxy, allow_redirects=False
            )
        except aiohttp.ConnectionTimeoutError:
            raise ConnectionBrokenError("no connection in time") from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A kept connection may close in the moment in which it is used again.
            at_once = isinstance(error, aiohttp.ServerDisconnectedError)
            why = f"{type(error).__name__}: {error}"
            raise ConnectionBrokenError(why, at_once=at_once, kind=_kind_of(error)) from None
        return Response(response)
