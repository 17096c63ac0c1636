"""What the model is told: the run's instructions, the thread as far as it fits, and what the run itself has done.

A thread that does not fit loses messages of its middle: its first and its newest stay. What the run has done, tool
calls and their outputs above all, is never cut.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import msgspec

from threadkeep import messages, tokens
from threadkeep.context import Context
from threadkeep.message_parts import ImageFilePart, ImageUrlPart, Part, RefusalPart, TextPart
from threadkeep.messages import Message
from threadkeep.run_rows import Plan, Run
from threadkeep.run_steps import MessageCreation, RunStep, ToolCalls
from threadkeep.store.interface import Transaction
from threadkeep.tools import FunctionTool, JsonObjectFormat, JsonSchemaFormat
from threadkeep.upstream import ChatRequest

# A message of Chat Completions.
Chat: TypeAlias = dict[str, Any]

READ_AT_ONCE = 100
# What is kept free for the answer, when the run does not say: this much, or this part of what the model can look at.
ANSWER_TOKENS = 4096
ANSWER_PART = 4


class PromptTooLongError(Exception):
    """What cannot be left out is more than the model can look at, or more than the run may still use."""


async def request_of(ctx: Context, run: Run, plan: Plan, steps: list[RunStep], context_tokens: int) -> ChatRequest:
    """What is asked of the model in the run's next turn. Raises `PromptTooLongError`."""
    request = ChatRequest(
        model=run.model,
        messages=[],
        temperature=run.temperature,
        top_p=run.top_p,
        reasoning_effort=run.reasoning_effort,
        max_completion_tokens=_completion_tokens_left(run, plan),
        response_format=_response_format(run),
    )
    if functions := _functions(run):
        request.tools = functions
        request.tool_choice = _tool_choice(run, is_first=not steps)
        request.parallel_tool_calls = None if run.parallel_tool_calls else False
    before = [{"role": "system", "content": run.instructions}] if run.instructions else []
    after = await ctx.store.read(lambda tx: _done_so_far(tx, steps)) if steps else []
    room = _room(run, plan, context_tokens)
    room -= await _cost([*before, *after], room, functions)
    if room < 0:
        raise PromptTooLongError
    request.messages = [*before, *await _Thread(ctx, run, plan).fitting(room), *after]
    return request


def is_limited_by_budget(run: Run, plan: Plan, context_tokens: int) -> bool:
    """Whether a prompt is too long because of `max_prompt_tokens`, and not because of the model."""
    return _room(run, plan, context_tokens) < _window(run, plan, context_tokens)


def _room(run: Run, plan: Plan, context_tokens: int) -> int:
    """How many tokens the prompt may have."""
    window = _window(run, plan, context_tokens)
    if run.max_prompt_tokens is None:
        return window
    return min(window, run.max_prompt_tokens - plan.spent.prompt_tokens)


def _window(run: Run, plan: Plan, context_tokens: int) -> int:
    """How many tokens of prompt the model can look at, beside its answer."""
    return context_tokens - min(_completion_tokens_left(run, plan) or ANSWER_TOKENS, context_tokens // ANSWER_PART)


def _completion_tokens_left(run: Run, plan: Plan) -> int | None:
    return None if run.max_completion_tokens is None else run.max_completion_tokens - plan.spent.completion_tokens


async def _cost(chats: list[Chat], room: int, functions: list[dict[str, Any]] | None = None) -> int:
    """The tokens of messages; where they surely fit, a bound that is never too small and costs nothing."""
    bound = tokens.at_most(chats, functions)
    return bound if bound <= room else await tokens.count_messages(chats, functions)


class _Thread:
    """The thread's messages that belong to a run's context."""

    def __init__(self, ctx: Context, run: Run, plan: Plan) -> None:
        self._ctx = ctx
        self._run = run
        self._plan = plan
        strategy = run.truncation_strategy
        self._count_max = strategy.last_messages if strategy.type == "last_messages" else None

    async def fitting(self, room: int) -> list[Chat]:
        """As many as fit into `room` tokens, in order; at least the newest."""
        kept, left, is_cut = await self._newest(room)
        if is_cut and self._count_max is None:
            first = await self._ctx.store.read(lambda tx: messages.earliest(tx, self._run.thread_id))
            chat = _chat_of(first[1]) if first else None
            cost = await tokens.count_messages([chat]) if chat else 0
            if first and chat and cost <= room // 2:
                while kept[1:] and left < cost:
                    left += await tokens.count_messages([kept.pop()[1]])
                if left >= cost:
                    kept.append((first[0], chat))
        kept.reverse()
        # What was said for this run comes last, even if it was said while another run was still at it.
        return [chat for _, chat in sorted(kept, key=self._is_own)]

    def _is_own(self, numbered: tuple[int, Chat]) -> bool:
        return self._plan.own_from <= numbered[0] <= self._plan.own_to

    def _page(self, before: int, tx: Transaction) -> list[tuple[int, Message]]:
        return messages.last(tx, self._run.thread_id, before, READ_AT_ONCE)

    async def _newest(self, room: int) -> tuple[list[tuple[int, Chat]], int, bool]:
        """The newest that fit, newest first and numbered; the room that is left; whether there were more."""
        kept: list[tuple[int, Chat]] = []
        before = self._plan.context_to + 1
        while True:
            page = await self._ctx.store.read(partial(self._page, before))
            for seq, message in page:
                chat = _chat_of(message)
                if chat is None or message.run_id == self._run.id:
                    continue
                if self._count_max is not None and len(kept) >= self._count_max:
                    return kept, room, True
                room -= await _cost([chat], room)
                if room < 0:
                    if not kept:
                        raise PromptTooLongError
                    return kept, 0, True
                kept.append((seq, chat))
            if len(page) < READ_AT_ONCE:
                return kept, room, False
            before = page[-1][0]


def _chat_of(message: Message) -> Chat | None:
    """A message in the terms of Chat Completions; None for one that has nothing to tell, or failed half way."""
    if message.status == "in_progress":
        return None
    if message.incomplete_details and message.incomplete_details.reason == "run_failed":
        return None
    parts = [_part_of(part) for part in message.content]
    parts += [_absent("file", attachment.file_id) for attachment in message.attachments]
    if message.role == "assistant" or all(part["type"] == "text" for part in parts):
        # Not every server takes a list where there is but text.
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        return {"role": message.role, "content": text} if text else None
    return {"role": message.role, "content": parts}


def _part_of(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text.value}
        case RefusalPart(refusal=refusal):
            return {"type": "text", "text": refusal}
        case ImageUrlPart(image_url=image):
            return {"type": "image_url", "image_url": {"url": image.url, "detail": image.detail or "auto"}}
        case ImageFilePart(image_file=image):
            return _absent("image", image.file_id)


def _absent(kind: str, file_id: str) -> dict[str, Any]:
    return {"type": "text", "text": f"[The {kind} {file_id} is not on this server.]"}


def _done_so_far(tx: Transaction, steps: list[RunStep]) -> list[Chat]:
    """The turns of this run: what the model said, the tools it called, and what came of that."""
    chats: list[Chat] = []
    said: Chat | None = None
    for step in steps:
        match step.step_details:
            case MessageCreation(message_creation=created):
                message = messages.find(tx, step.thread_id, created.message_id)
                said = _chat_of(message) if message else None
                if said:
                    chats.append(said)
            case ToolCalls(tool_calls=calls):
                if said is None:
                    said = {"role": "assistant", "content": None}
                    chats.append(said)
                said["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.function.name, "arguments": call.function.arguments},
                    }
                    for call in calls
                ]
                chats += [
                    {"role": "tool", "tool_call_id": call.id, "content": call.function.output or ""} for call in calls
                ]
                said = None
    return chats


def completed(steps: list[RunStep]) -> list[RunStep]:
    """The steps that count: not those of turns that were broken off and done again."""
    return [step for step in steps if step.status == "completed"]


def _functions(run: Run) -> list[dict[str, Any]]:
    functions = []
    for tool in run.tools:
        if isinstance(tool, FunctionTool):
            described = {name: value for name, value in msgspec.to_builtins(tool.function).items() if value}
            functions.append({"type": "function", "function": described})
    return functions


def _tool_choice(run: Run, *, is_first: bool) -> str | dict[str, Any] | None:
    """A forced choice holds for the first turn, otherwise the run would never end."""
    choice = msgspec.to_builtins(run.tool_choice)
    if choice == "auto" or (choice != "none" and not is_first):
        return None
    return choice  # type: ignore[no-any-return]


def _response_format(run: Run) -> dict[str, Any] | None:
    if isinstance(run.response_format, JsonObjectFormat | JsonSchemaFormat):
        return msgspec.to_builtins(run.response_format)  # type: ignore[no-any-return]
    return None
