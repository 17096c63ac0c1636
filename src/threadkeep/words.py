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


class _WithoutMarks(dict[int, int | None]):
    """For `str.translate`, filled in as characters are met: going through all of them takes a third of a second."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code)).startswith("M") else code
        return self[code]


_WITHOUT_MARKS = _WithoutMarks()


def fold(text: str) -> str:
    """The text without case and marks."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", text.casefold()).translate(_WITHOUT_MARKS)


def of(text: str) -> list[str]:
    """The words of a text, in their order."""
    folded = fold(text)
    found = (_ASCII_WORD if folded.isascii() else _WORD).findall(folded)
    return [word[:WORD_CHARACTERS_MAX] for word in found]


def places(text: str) -> Iterator[tuple[str, int]]:
    """The words of a text, each with the place where the unfolded one begins."""
    for match in _WORD.finditer(text):
        for word in of(match[0]):
            yield word, match.start()


def stands_alone(word: str) -> bool:
    """Whether it is a single character that is a word of its own."""
    return re.fullmatch(f"[{_ALONE}]", word) is not None
