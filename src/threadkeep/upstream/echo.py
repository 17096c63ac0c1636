"""The built-in model `echo`, a demonstration for a server that has no model yet: it repeats what the user said."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from threadkeep.upstream.wire import ChatRequest, Counts, Finished, Part, TextDelta, text_of

NAME = "echo"
_WORD = re.compile(r"\s*\S+")
NOTHING = "There was nothing to repeat."


async def stream(request: ChatRequest) -> AsyncGenerator[list[Part], None]:
    """The last message of the user, word by word. Its tokens are words."""
    said = [text_of(message) for message in request.messages]
    asked = [text for message, text in zip(request.messages, said, strict=True) if message.get("role") == "user"]
    words = _WORD.findall(asked[-1] if asked else "") or [NOTHING]
    most = request.max_completion_tokens or len(words)
    for word in words[:most]:
        yield [TextDelta(word)]
        await asyncio.sleep(0)
    prompt_tokens = sum(len(text.split()) for text in said)
    yield [Finished("stop" if len(words) <= most else "length"), Counts(prompt_tokens, min(most, len(words)))]
