"""JSON becomes values: not those that could be taken in but not read back, and not so that everybody waits for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from threadkeep import tools

# Schemas of tools may be nested as deep as `tools.NESTING_MAX`, within the objects and lists that have them.
NESTING_MAX = tools.NESTING_MAX + 20
DECODED_AT_ONCE_BYTES_MAX = 1024 * 1024
# Such as those of a page, a thread in it, and its messages.
LEVELS_IN_PIECES = 4


class RefusedError(Exception):
    """It cannot be taken in."""


_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(raw: bytes) -> Any:
    """What the JSON says. Raises `RefusedError`."""
    try:
        value = _decode(Raw(raw), LEVELS_IN_PIECES)
        is_too_deep = _has_many_brackets(raw) and tools.is_nested_deeper(value, NESTING_MAX)
    except RecursionError:
        is_too_deep = True
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError("it is not JSON") from None
    if is_too_deep:
        raise RefusedError(f"it is nested too deeply, at most {NESTING_MAX} levels are taken in")
    return value


def check_nesting(raw: bytes) -> None:
    """Refuses what `decode` would. Raises `RefusedError`."""
    if _has_many_brackets(raw):
        decode(raw)


def _has_many_brackets(raw: bytes) -> bool:
    """Most values have fewer than they may have levels, and need no look at each level."""
    return raw.count(b"{") + raw.count(b"[") > NESTING_MAX


def _decode(raw: Raw, levels_in_pieces: int) -> Any:
    """Decodes piece by piece what is large: all other OS threads wait while the decoder is at work."""
    if memoryview(raw).nbytes > DECODED_AT_ONCE_BYTES_MAX and levels_in_pieces:
        with suppress(msgspec.ValidationError):
            return [_decode(part, levels_in_pieces - 1) for part in _decode_list(raw)]
        with suppress(msgspec.ValidationError):
            return {name: _decode(part, levels_in_pieces - 1) for name, part in _decode_fields(raw).items()}
    return msgspec.json.decode(raw)
