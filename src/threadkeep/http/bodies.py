"""Reading request bodies, within limits that hold while the body is still arriving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from threadkeep.errors import OverloadedError, RequestTooLargeError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGoneError(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


# Smaller bodies are not counted: with the limit on connections they are bounded anyway.
COUNTED_FROM_BYTES = 64 * 1024


class BodyReader:
    """Reads bodies of at most `bytes_max`, and of at most `all_bytes_max` together until they are released."""

    def __init__(self, bytes_max: int, all_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._all_bytes_max = all_bytes_max
        self._bytes_held = 0

    async def read(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """The whole body, to be given to `release` when the request is answered.

        Raises `RequestTooLargeError`, `OverloadedError` or `ClientGoneError`.
        """
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        first: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(first) <= min(self._bytes_max, COUNTED_FROM_BYTES):
            return first
        return await self._read_on(receive, first, more=message.get("more_body", False), headers=headers)

    async def _read_on(self, receive: Receive, first: bytes, *, more: bool, headers: Mapping[bytes, bytes]) -> bytes:
        body = bytearray(first)
        held = 0
        try:
            while True:
                self._bytes_held += len(body) - held
                held = len(body)
                declared = int(headers.get(b"content-length", b"0"))
                if max(held, declared) > self._bytes_max:
                    await self._drain(receive, max(held, declared), more=more)
                    raise self._too_large()
                if self._bytes_held > self._all_bytes_max:
                    raise OverloadedError("it holds too many large requests")
                if not more:
                    if held > COUNTED_FROM_BYTES:
                        held = 0
                    return bytes(body)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                body += message.get("body", b"")
                more = message.get("more_body", False)
        finally:
            self._bytes_held -= held

    def release(self, body: bytes) -> None:
        """Takes a body out of the count."""
        if len(body) > COUNTED_FROM_BYTES:
            self._bytes_held -= len(body)

    async def _drain(self, receive: Receive, expected: int, *, more: bool) -> None:
        """Lets a body that is not far over the limit arrive: most clients read no answer before they have sent all."""
        dropped = 0
        while more and expected <= 2 * self._bytes_max and dropped <= 2 * self._bytes_max:
            message = await receive()
            dropped += len(message.get("body", b""))
            more = message.get("more_body", False)

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"The request body is too large: at most {self._bytes_max} bytes are accepted.",
            headers=((b"connection", b"close"),),
        )
