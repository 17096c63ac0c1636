"""What a word is to search: the same for text that is stored and text that is looked for, on every database.

A word is a run of letters and digits, without regard to case, accents and other marks. Characters of Chinese and
Japanese, which puts no spaces between words, are each a word of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# The rest of a longer word is not looked at.
WORD_CHARACTERS_MAX = 64

_ALONE = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+")
# A single character that stands for letters and is none: what it follows is a word without it, as in `Product™`.
_SYMBOL = re.compile(r"[\u2100-\u214f\u3200-\u33ff\U0001f100-\U0001f2ff](?<![^\W_])")


class _Marks(dict[int, int | None]):
    """For `str.translate`, filled in as characters are met: going through all of them takes a third of a second."""

    def __init__(self, instead: int | None) -> None:
        super().__init__()
        self._instead = instead

    def __missing__(self, code: int) -> int | None:
        self[code] = self._instead if unicodedata.category(chr(code)).startswith("M") else code
        return self[code]


_WITHOUT_MARKS = _Marks(None)
# To Python many marks are no part of a word; a letter in the place of each keeps the word together.
_WITH_LETTERS = _Marks(ord("a"))


def _fold(text: str) -> str:
    """The text without case and marks."""
    if text.isascii():
        return text.lower()
    apart = _SYMBOL.sub(r" \g<0> ", text)
    # In this order: a symbol such as `㎒` has no case, but what it stands for has.
    return unicodedata.normalize("NFKD", apart).casefold().translate(_WITHOUT_MARKS)


def of(text: str) -> list[str]:
    """The words of a text, in their order."""
    folded = _fold(text)
    found = (_ASCII_WORD if folded.isascii() else _WORD).findall(folded)
    return [word[:WORD_CHARACTERS_MAX] for word in found]


def places(text: str) -> Iterator[tuple[str, int]]:
    """The words of a text, each with the place where the unfolded one begins."""
    for match in _WORD.finditer(text if text.isascii() else text.translate(_WITH_LETTERS)):
        for word in of(text[match.start() : match.end()]):
            yield word, match.start()


def stands_alone(word: str) -> bool:
    """Whether it is a single character that is a word of its own."""
    return re.fullmatch(f"[{_ALONE}]", word) is not None
