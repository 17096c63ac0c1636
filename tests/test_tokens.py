"""Token counts, offline."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import importlib.resources
import subprocess
import sys

import pytest

from threadkeep import tokens

# What tiktoken itself expects of the table.
PUBLISHED = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def count(text):
    return asyncio.run(tokens.count(text))


def test_the_table_is_the_published_one():
    packed = importlib.resources.files("threadkeep").joinpath(tokens.TABLE).read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == PUBLISHED


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("hello world", 2), ("antidisestablishmentarianism", 6), ("2 + 2 = 4", 7), ("お誕生日おめでとう", 9)],
)
def test_counts_are_those_that_openai_publishes(text, expected):
    assert count(text) == expected


@pytest.mark.parametrize("text", ["^", " ", "\n", "a", "é1 ", "中", "<|endoftext|>"])
def test_long_and_odd_texts_are_counted(text):
    long = text * (400_000 // len(text))
    assert 0 < count(long) <= len(long.encode())


def test_a_chat_counts_its_texts_and_the_marks_around_them():
    messages = [{"role": "system", "content": "hello world"}, {"role": "user", "content": "hello world", "name": "ann"}]
    assert asyncio.run(tokens.count_messages(messages)) == 3 + (3 + 2) + (3 + 2 + 1 + count("ann"))


def test_parts_images_calls_and_tools_are_counted():
    image = {"type": "image_url", "image_url": {"url": "http://images.example.com/1.png"}}
    low = {"type": "image_url", "image_url": {"url": "http://images.example.com/1.png", "detail": "low"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "hello", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hello world"}, image, low]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    without = asyncio.run(tokens.count_messages(messages))
    assert without == 3 + (3 + 2 + 765 + 85) + (3 + 1 + 1)
    assert asyncio.run(tokens.count_messages(messages, [{"type": "function"}])) == without + count(
        '[{"type":"function"}]'
    )


def test_a_bound_is_never_below_the_count():
    messages = [
        {"role": "user", "content": text} for text in ("hello world", "^^^^", "お誕生日", "a b c d e f", "\n \n")
    ]
    assert tokens.at_most(messages) >= asyncio.run(tokens.count_messages(messages))


def test_nothing_is_read_before_something_is_counted():
    code = "import sys, threadkeep.app; print([name in sys.modules for name in ('tiktoken', 'aiohttp')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[False, False]"
