"""Token counts without asking anyone: the encoding cl100k_base, whose table is in this package.

Models have encodings of their own, so a count is an estimate: for English mostly within a tenth. The table is read when
it is first needed; that takes a tenth of a second and 45 MB.
"""

from __future__ import annotations

import asyncio
import binascii
import gzip
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import tiktoken

TABLE = "cl100k_base.tiktoken.gz"
# How the encoding cuts text before it looks into its table.
_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
# Longer texts are counted in a helper OS thread; this much takes a fraction of a millisecond.
INLINE_CHARACTERS = 8_000
# The engine's patterns recurse, so it never gets more than this at a time. A cut adds at most a token or two.
SLICE_CHARACTERS = 100_000

# What a chat costs beside its texts: marks around each message, a name, the opening of the answer.
MESSAGE_TOKENS = 3
NAME_TOKENS = 1
ANSWER_TOKENS = 3
# Of an image, which is not looked at here: what a usual one costs at OpenAI, in low detail and otherwise.
IMAGE_LOW_TOKENS = 85
IMAGE_TOKENS = 765

Messages = Sequence[Mapping[str, Any]]


async def count(text: str) -> int:
    """How many tokens `text` is."""
    return await _count([text])


async def count_messages(messages: Messages, tools: Sequence[Mapping[str, Any]] | None = None) -> int:
    """How many tokens a prompt of these chat messages and tools is."""
    texts, fixed = _take_apart(messages, tools)
    return fixed + await _count(texts)


def at_most(messages: Messages, tools: Sequence[Mapping[str, Any]] | None = None) -> int:
    """A bound on `count_messages` that costs next to nothing: no token is shorter than a byte."""
    texts, fixed = _take_apart(messages, tools)
    return fixed + sum(len(text.encode()) for text in texts)


async def _count(texts: list[str]) -> int:
    # The first of all reads the table, off the event loop as well.
    if _encoding.cache_info().currsize and sum(map(len, texts)) <= INLINE_CHARACTERS:
        return _count_now(texts)
    return await asyncio.to_thread(_count_now, texts)


def _count_now(texts: list[str]) -> int:
    encode = _encoding().encode_ordinary
    return sum(
        len(encode(text[start : start + SLICE_CHARACTERS]))
        for text in texts
        for start in range(0, len(text), SLICE_CHARACTERS)
    )


@cache
def _encoding() -> tiktoken.Encoding:
    import tiktoken  # noqa: PLC0415 - most processes never count

    table = gzip.decompress(importlib.resources.files("threadkeep").joinpath(TABLE).read_bytes())
    ranks = {binascii.a2b_base64(token): int(rank) for token, rank in (line.split(b" ") for line in table.splitlines())}
    return tiktoken.Encoding("cl100k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})


def _take_apart(messages: Messages, tools: Sequence[Mapping[str, Any]] | None) -> tuple[list[str], int]:
    """The texts to count, and the tokens that are known without counting."""
    texts: list[str] = []
    fixed = ANSWER_TOKENS
    for message in messages:
        fixed += MESSAGE_TOKENS + (NAME_TOKENS if message.get("name") else 0)
        content = message.get("content") or ()
        for part in [content] if isinstance(content, str) else content:
            if isinstance(part, str):
                texts.append(part)
            elif part.get("type") == "image_url":
                fixed += IMAGE_LOW_TOKENS if part["image_url"].get("detail") == "low" else IMAGE_TOKENS
            else:
                texts.append(part.get("text") or "")
        texts += _texts_of_calls(message.get("tool_calls") or ())
        texts.append(message.get("name") or "")
    if tools:
        texts.append(msgspec.json.encode(tools).decode())
    return texts, fixed


def _texts_of_calls(calls: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for call in calls:
        yield call["function"]["name"]
        yield call["function"]["arguments"]
