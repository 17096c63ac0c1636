"""Bytes become lines, each with its number; a document that goes over many lines is one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
from msgspec import Raw, Struct

from threadkeep.errors import BadRequestError

LINE_BYTES_MAX = 64 * 1024 * 1024
# The number of a document.
DOCUMENT = 0
_OPENINGS = (b"{", b"[")
# What some programs put in front of UTF-8.
_MARK = b"\xef\xbb\xbf"


class Line(Struct):
    """A line of our own format; each has an object of some kind, but the first, which names the format."""

    kind: str = ""
    object: Raw = Raw(b"null")
    format: str = ""
    version: int = 0


_decode = msgspec.json.Decoder(Line).decode


def decode(line: bytes) -> Line | None:
    """A line of our own format; None if it is something else."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def split(source: AsyncIterator[bytes], hold: Callable[[int], None]) -> AsyncIterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers; or a document, with the number 0.

    `hold` is told how many bytes wait for the rest of their line.
    """
    rest, number, is_document, is_begun = bytearray(), 0, False, False
    async for piece in source:
        rest += piece
        if not is_begun and len(rest) >= len(_MARK):
            is_begun = True
            if rest.startswith(_MARK):
                del rest[: len(_MARK)]
        hold(len(rest))
        if len(rest) > LINE_BYTES_MAX:
            what = "A document" if is_document else f"Line {number + 1}"
            raise BadRequestError(f"{what} is longer than {LINE_BYTES_MAX} bytes.")
        if is_document or b"\n" not in piece:
            continue
        if number == 0 and rest.lstrip().partition(b"\n")[0].strip() in _OPENINGS:
            is_document = True
            continue
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole:
            number += 1
            if line.strip():
                yield number, bytes(line)
    if rest.strip():
        yield (DOCUMENT if is_document else number + 1), bytes(rest)
