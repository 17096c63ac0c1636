"""Where the body of a streamed answer goes, piece by piece."""

from __future__ import annotations

import asyncio


class Sink:
    """One answer's way to its client: what streams writes here, and the connection tells what becomes of the client."""

    __slots__ = ("_is_chunked", "_task", "_transport", "_waiting", "hangs_up", "is_ending", "is_full", "is_open")

    def __init__(self, transport: asyncio.WriteTransport, *, is_chunked: bool, is_open: bool) -> None:
        self._transport = transport
        self._is_chunked = is_chunked
        self._task = asyncio.current_task()
        self._waiting: asyncio.Future[None] | None = None
        # Whether anybody is there for the body.
        self.is_open = is_open
        # Whether the client is behind: then `room` is to be awaited before more is written.
        self.is_full = False
        # Whether the server stops.
        self.is_ending = False
        # To be set when the connection cannot go on after this answer.
        self.hangs_up = False

    # what streams

    def write(self, piece: bytes) -> None:
        """Sends a piece, as one chunk."""
        # An empty chunk would end the body.
        if piece and self.is_open:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece)

    async def room(self) -> None:
        """Waits until the client has taken enough of what was written."""
        while self.is_full and self.is_open:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    # the connection

    def close(self) -> None:
        """Writes what ends the body."""
        if self._is_chunked and self.is_open:
            self._transport.write(b"0\r\n\r\n")

    def resume(self) -> None:
        """The client has caught up."""
        self.is_full = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def lose(self) -> None:
        """The client is gone: stops what streams, whatever it waits for."""
        self.is_open = False
        self._cancel()

    def end(self) -> None:
        """The server stops: asks what streams to say goodbye, whatever it waits for."""
        self.is_ending = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
