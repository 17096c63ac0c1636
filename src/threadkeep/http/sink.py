"""Where the body of a streamed answer goes, piece by piece."""

from __future__ import annotations

import asyncio

# So much of one stream is gathered in a turn of the event loop, and sent at the end of it; then it is others' turn.
TURN_BYTES = 16 * 1024


class Sink:
    """One answer's way to its client: what streams writes here, and the connection tells what becomes of the client."""

    __slots__ = (
        "_is_chunked",
        "_loop",
        "_pieces",
        "_size",
        "_task",
        "_transport",
        "_waiting",
        "hangs_up",
        "is_behind",
        "is_cut",
        "is_ending",
        "is_full",
        "is_open",
    )

    def __init__(self, transport: asyncio.WriteTransport, *, is_chunked: bool, is_open: bool) -> None:
        self._transport = transport
        self._is_chunked = is_chunked
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        # What was written in this turn of the event loop.
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiting: asyncio.Future[None] | None = None
        # Whether anybody is there for the body.
        self.is_open = is_open
        # Whether `room` is to be awaited before more is written.
        self.is_full = False
        # Whether the client does not read as fast as it is sent to.
        self.is_behind = False
        # Whether the server stops.
        self.is_ending = False
        # To be set when the connection cannot go on after this answer.
        self.hangs_up = False
        # To be set when the answer has no end: a client must not take what it got for all.
        self.is_cut = False

    # what streams

    def write(self, piece: bytes) -> None:
        """Sends a piece, in one chunk with others of the same moment."""
        if not piece or not self.is_open:
            return
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= TURN_BYTES:
            self.is_full = True

    async def room(self) -> None:
        """Waits until more may be written."""
        while self.is_full and self.is_open:
            self._waiting = self._loop.create_future()
            await self._waiting

    # the connection

    def close(self) -> None:
        """Sends what is left, and what ends the body."""
        if self.is_open:
            end = b"0\r\n\r\n" if self._is_chunked and not self.is_cut else b""
            if data := self._gathered() + end:
                self._transport.write(data)

    def pause(self) -> None:
        """The client is behind."""
        self.is_full = self.is_behind = True

    def resume(self) -> None:
        """The client has caught up."""
        self.is_behind = False
        self._make_room()

    def lose(self) -> None:
        """The client is gone: stops what streams, whatever it waits for."""
        self.is_open = False
        self._cancel()

    def end(self) -> None:
        """The server stops: asks what streams to say goodbye, whatever it waits for."""
        self.is_ending = True
        self._cancel()

    def _send(self) -> None:
        if self._pieces and self.is_open:
            self._transport.write(self._gathered())
            self._make_room()

    def _gathered(self) -> bytes:
        """What was gathered, as one chunk."""
        pieces, size = self._pieces, self._size
        self._pieces, self._size = [], 0
        if self._is_chunked and size:
            return b"%x\r\n%b\r\n" % (size, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return b"".join(pieces)

    def _make_room(self) -> None:
        if self.is_full and not self.is_behind and self._size < TURN_BYTES:
            self.is_full = False
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
