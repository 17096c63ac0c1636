"""What is asked of runs: the bodies and queries of their operations."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from threadkeep import ids, invalid, tools
from threadkeep.assistants import Instructions
from threadkeep.messages import MessageCreateParams
from threadkeep.metadata import Metadata, MetadataPatch
from threadkeep.references import ToolResources
from threadkeep.run_rows import TruncationStrategy
from threadkeep.run_steps import Include
from threadkeep.threads import ThreadCreateParams
from threadkeep.tools import ReasoningEffort, ResponseFormat, Temperature, ToolChoice, Tools, TopP
from threadkeep.validation import LENIENT_ONLY

STRICT_TOKENS_MIN = 256
TokenLimit = Annotated[int, Meta(ge=1)]


class RunSettings(Struct, kw_only=True):
    """What the bodies of create run and create thread and run have in common; null means the assistant's."""

    assistant_id: str
    model: Annotated[str, Meta(min_length=1)] | None = None
    instructions: Instructions | None = None
    tools: Tools | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    reasoning_effort: ReasoningEffort | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: TruncationStrategy | None = None
    response_format: ResponseFormat | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None

    def check(self, *, strict: bool) -> None:
        """Refuses what no type can say."""
        ids.check("assistant_id", self.assistant_id, "asst")
        tools.check(self.tools or [], self.response_format)
        strategy = self.truncation_strategy
        if strategy and strategy.type == "last_messages" and strategy.last_messages is None:
            raise invalid.missing("truncation_strategy.last_messages")
        for name in ("max_prompt_tokens", "max_completion_tokens"):
            limit = getattr(self, name)
            # Differs from OpenAI: smaller budgets are taken, as the original did in its first years.
            if strict and limit is not None and limit < STRICT_TOKENS_MIN:
                raise invalid.below_minimum(name, STRICT_TOKENS_MIN, limit)


class RunCreateParams(RunSettings, kw_only=True):
    """The body of create run."""

    additional_instructions: Instructions | None = None
    additional_messages: list[MessageCreateParams] | None = None
    if_active: Annotated[Literal["reject", "enqueue", "interrupt"] | None, LENIENT_ONLY] = None


class RunCreateQuery(Struct, kw_only=True, frozen=True):
    """The query of create run. It is checked only: what can be included comes from a tool that is not there yet."""

    include: list[Include] | None = None


class ThreadAndRunCreateParams(RunSettings, kw_only=True):
    """The body of create thread and run."""

    thread: ThreadCreateParams | None = None
    tool_resources: ToolResources | None = None


class RunUpdateParams(Struct, kw_only=True):
    """The body of modify."""

    metadata: MetadataPatch | None = None


class RunRetrieveParams(Struct, kw_only=True, frozen=True):
    """The query of retrieve. With `stream` the answer is the run's events behind number `starting_after`."""

    stream: Annotated[bool | None, LENIENT_ONLY] = None
    starting_after: Annotated[Annotated[int, Meta(ge=0)] | None, LENIENT_ONLY] = None


class ToolOutput(Struct, kw_only=True):
    """What one of the client's functions gave back."""

    tool_call_id: str | None = None
    output: str | None = None


class ToolOutputsParams(Struct, kw_only=True):
    """The body of submit tool outputs: all of the outputs that are awaited, in any order."""

    tool_outputs: list[ToolOutput]
    stream: bool | None = None
