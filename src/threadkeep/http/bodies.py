"""Reading request bodies, within limits that hold while the body is still arriving."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from threadkeep.errors import OverloadedError, RequestTooLargeError
from threadkeep.http.exchange import Request

# Smaller bodies are not counted: with the limit on connections they are bounded anyway.
COUNTED_FROM_BYTES = 64 * 1024


class BodyReader:
    """Reads bodies of at most `bytes_max`, and of at most `all_bytes_max` together until they are released.

    A body counts once, though the last step of reading it holds it twice.
    """

    def __init__(self, bytes_max: int, all_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._all_bytes_max = all_bytes_max
        self._bytes_held = 0

    async def read(self, request: Request) -> bytes:
        """The whole body, to be given to `release` when the request is answered.

        Raises `RequestTooLargeError`, `OverloadedError` or `ClientGoneError`.
        """
        first = await request.receive()
        if request.body_is_complete and len(first) <= min(self._bytes_max, COUNTED_FROM_BYTES):
            return first
        return await self._read_on(request, first)

    async def _read_on(self, request: Request, first: bytes) -> bytes:
        declared = int(request.headers.get(b"content-length", b"0"))
        body = bytearray(first)
        held = 0
        try:
            while True:
                self._bytes_held += len(body) - held
                held = len(body)
                if max(held, declared) > self._bytes_max:
                    await self._drain(request, max(held, declared))
                    raise self._too_large()
                self._require_room()
                if request.body_is_complete and not request.bytes_waiting:
                    if held > COUNTED_FROM_BYTES:
                        held = 0
                    return bytes(body)
                body += await request.receive()
        finally:
            self._bytes_held -= held

    def release(self, body: bytes) -> None:
        """Takes a body out of the count."""
        if len(body) > COUNTED_FROM_BYTES:
            self._bytes_held -= len(body)

    @contextmanager
    def pieces(self, request: Request) -> Iterator[BodyPieces]:
        """The body as it comes, however long it is: what the operation holds of it counts, until this is left."""
        pieces = BodyPieces(request, self._hold)
        try:
            yield pieces
        finally:
            self._bytes_held -= pieces.bytes_held

    def _hold(self, more_bytes: int) -> None:
        self._bytes_held += more_bytes
        if more_bytes > 0:
            self._require_room()

    def _require_room(self) -> None:
        if self._bytes_held > self._all_bytes_max:
            raise OverloadedError("it holds too many large requests")

    async def _drain(self, request: Request, expected: int) -> None:
        """Lets a body that is not far over the limit arrive: most clients read no answer before they have sent all."""
        dropped = 0
        while not request.body_is_complete and max(expected, dropped) <= 2 * self._bytes_max:
            dropped += len(await request.receive())

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(f"The request body is too large: at most {self._bytes_max} bytes are accepted.")


class BodyPieces:
    """`Pieces` of a request."""

    def __init__(self, request: Request, hold_more: Callable[[int], None]) -> None:
        self._request = request
        self._hold_more = hold_more
        self.bytes_held = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._request.receive():
            yield piece

    def hold(self, bytes_held: int) -> None:
        """Says how much of it is in memory now. Raises `OverloadedError`."""
        more, self.bytes_held = bytes_held - self.bytes_held, bytes_held
        self._hold_more(more)
