"""What an operation may give in place of a plain result (headers with it, events, a download), and how it takes a long
body.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

# Name and value, as they are sent.
Header: TypeAlias = tuple[bytes, bytes]


class Frames(Protocol):
    """Frames of Server-Sent Events, ready to be sent: an async generator, or what can be used like one.

    `aclose` is called at the end, also when no frame was asked for; but a generator that never began does not run then,
    so what is to be let go of is best taken at its first step. A wait for the next frame may be cancelled.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def aclose(self) -> Awaitable[None]:
        """Lets go of all that the frames came from."""


class Pieces(Protocol):
    """A request's body as it comes, for an operation that takes it piece by piece."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def hold(self, bytes_held: int) -> None:
        """Says how much of it is in memory now. Raises `OverloadedError` when all requests together hold too much."""


@dataclass(frozen=True, slots=True, eq=False)
class EventStream:
    """The result of an operation whose answer comes bit by bit. What can be refused was refused before."""

    frames: Frames
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Download:
    """The result of an operation whose answer is long: pieces of it as they come, each sent as it is."""

    pieces: AsyncGenerator[bytes]
    content_type: bytes


@dataclass(frozen=True, slots=True, eq=False)
class WithHeaders:
    """A result, and headers for its answer."""

    result: Any
    headers: tuple[Header, ...]
