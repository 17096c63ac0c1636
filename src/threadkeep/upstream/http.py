"""The HTTP client, and the one place that knows which library it is.

Why this one: docs/decisions/0012-aiohttp-for-model-servers.md.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import aiohttp

# A body that says what went wrong, or which models there are, has an end.
BODY_BYTES_MAX = 4 * 1024 * 1024
KEEP_ALIVE_S = 30


class ConnectionBrokenError(Exception):
    """No connection could be made, or it ended before the answer did. `at_once`: another try may be made at once."""

    def __init__(self, why: str, *, at_once: bool = False) -> None:
        super().__init__(why)
        self.at_once = at_once


class Response:
    """An answer whose head has come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """What has come since the last time, as soon as there is something; nothing at the end."""
        try:
            return await self._response.content.readany()
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBrokenError(type(error).__name__) from None

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


class HttpClient:
    """Connections to model servers. Proxies come from the environment, certificates from the system."""

    def __init__(self, *, connect_timeout_s: float, idle_timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_read=idle_timeout_s)

    async def open(self) -> None:
        """Gets ready on the running event loop."""
        self._session = aiohttp.ClientSession(
            # How many runs go on at once is limited elsewhere.
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(), keepalive_timeout=KEEP_ALIVE_S),
            timeout=self._timeout,
            trust_env=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Compressed text could unfold to any size.
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": "threadkeep"},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Sends a request and waits for the head of the answer. Raises `ConnectionBrokenError` and `TimeoutError`."""
        try:
            return Response(await self._session.request(method, url, headers=headers, data=body, allow_redirects=False))
        except aiohttp.ConnectionTimeoutError:
            raise ConnectionBrokenError("no connection in time") from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A kept connection may close in the moment in which it is used again.
            at_once = isinstance(error, aiohttp.ServerDisconnectedError)
            raise ConnectionBrokenError(type(error).__name__, at_once=at_once) from None
