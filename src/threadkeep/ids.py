"""Ids: the published prefix and 24 base62 characters.

The first 8 characters are milliseconds since the epoch, so that new rows land side by side in an index; the other 16
are random (95 bits from the operating system). Ids that come from outside are kept verbatim: nothing relies on the
order, the length or the alphabet of an id.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from threadkeep import invalid

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TIME_CHARACTERS = 8
RANDOM_CHARACTERS = 16

GIVEN_ID_CHARACTERS_MAX = 128
_GIVEN_ID = re.compile(r"[A-Za-z0-9_-]+")


def _base62(number: int, width: int) -> str:
    """`number` in base 62, padded on the left to `width` characters; sorts as the numbers do."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


class RandomText:
    """Random text of an alphabet, cut from a buffer that is refilled from the operating system."""

    def __init__(self, alphabet: str) -> None:
        # Where 256 is not a multiple of its length, some bytes are thrown away: each character is equally likely.
        whole = 256 // len(alphabet) * len(alphabet)
        self._character_of_byte = (alphabet * 256)[:256].encode()
        self._rejected = bytes(range(whole, 256))
        self._forget()
        # A child process must not hand out its parent's ids.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._text = ""
        self._used = 0

    def take(self, characters: int) -> str:
        """The next `characters` of random text, never handed out before."""
        end = self._used + characters
        if end > len(self._text):
            self._text = os.urandom(8192).translate(self._character_of_byte, self._rejected).decode("ascii")
            self._used, end = 0, characters
        text = self._text[self._used : end]
        self._used = end
        return text


random_text = RandomText(ALPHABET)
random_hex = RandomText("0123456789abcdef")


class IdSource:
    """Makes ids: `new_id("thread")` gives `thread_` and 24 characters."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._at_ms = -1
        self._time_text = ""

    def __call__(self, prefix: str) -> str:
        """A new id."""
        now_ms = int(self._clock() * 1000)
        if now_ms != self._at_ms:
            self._at_ms = now_ms
            self._time_text = _base62(now_ms, TIME_CHARACTERS)
        return f"{prefix}_{self._time_text}{random_text.take(RANDOM_CHARACTERS)}"


def check(param: str, value: str, prefix: str, separator: str = "_") -> None:
    """Refuses an id with another prefix, naming `param`; what follows the prefix is opaque."""
    if not value.startswith(prefix + separator) or "\x00" in value:
        raise invalid.wrong_id(param, value, prefix)


def check_given(param: str, value: str, prefix: str) -> None:
    """Refuses an id that a client may not choose for a new object."""
    check(param, value, prefix)
    if len(value) > GIVEN_ID_CHARACTERS_MAX:
        raise invalid.string_too_long(param, GIVEN_ID_CHARACTERS_MAX, len(value))
    if not _GIVEN_ID.fullmatch(value, len(prefix) + 1):
        raise invalid.pattern_mismatch(param, f"^{prefix}_[A-Za-z0-9_-]+$")
