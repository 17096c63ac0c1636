"""Characters that a model server has cut in two.

JSON spells a character beyond the first 65 536, as most emoji are, as two escapes. Some servers end a piece between
them, so that neither piece is a text by itself. The halves are joined when they meet; one that stays alone becomes
U+FFFD, so that nothing is stored or sent that is not UTF-8.
"""

from __future__ import annotations

import json
from typing import Any

ALONE = "\ufffd"
# What pieces of an answer are called: the other half may follow in the next one.
_PIECES = frozenset({"content", "text", "refusal", "arguments"})


def decode(payload: bytes) -> Any:
    """JSON with halves in it. They are left only where the next piece may have the other one. Raises `ValueError`."""
    try:
        return _without(json.loads(payload.decode("utf-8", "surrogatepass")), "")
    except RecursionError:
        raise ValueError from None


def _without(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value if name in _PIECES else _joined(value)
    if isinstance(value, list):
        return [_without(item, name) for item in value]
    if isinstance(value, dict):
        return {_joined(key): _without(item, key) for key, item in value.items()}
    return value


def _joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """The first halves that wait for their second ones, one for each text that is being written."""

    def __init__(self) -> None:
        # Nearly no answer has any; until the first one there is nothing to look at.
        self.are_met = False
        self._waiting: dict[str | int, str] = {}

    def join(self, place: str | int, piece: str) -> str:
        """The piece with the half that waits for it, and without one at its end, which waits for the next."""
        if not piece:
            return piece
        text = self._waiting.pop(place, "") + piece
        if "\ud800" <= text[-1] <= "\udbff":
            self._waiting[place] = text[-1]
            text = text[:-1]
        return _joined(text)

    def rest(self, place: str | int) -> str:
        """What stands for the half that waited in vain, if one did."""
        return ALONE if self._waiting.pop(place, None) else ""
