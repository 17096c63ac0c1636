"""Assistants: a model, instructions and tools under an id, which runs name.

Each takes its project's next number in the transaction that stores it; lists and cursors go by that number. A deleted
assistant keeps its number, so that a cursor pointing at it still finds its place.

Differs from OpenAI: an assistant may be created under an id the client gives, because programs have ids written into
them. An id is unique within its project only, and that of a deleted assistant may be given again. `--strict` takes it
back.
Differs from OpenAI: any model name is accepted; whether somebody serves that model shows when it is run.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from threadkeep import idempotency, ids, invalid, metadata, projects, references, tools
from threadkeep.context import Context
from threadkeep.errors import NotFoundError
from threadkeep.metadata import Metadata, MetadataPatch
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.references import CodeInterpreterResources, ToolResources
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Transaction
from threadkeep.tools import ReasoningEffort, ResponseFormat, Temperature, Tool, Tools, TopP
from threadkeep.validation import LENIENT_ONLY

T = TypeVar("T")

sql = queries.load("assistants")

SHAPE = 1
NAME_CHARACTERS_MAX = 256
DESCRIPTION_CHARACTERS_MAX = 512
INSTRUCTIONS_CHARACTERS_MAX = 256_000

ModelName = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_CHARACTERS_MAX)]
Instructions = Annotated[str, Meta(max_length=INSTRUCTIONS_CHARACTERS_MAX)]
# Differs from OpenAI: the first version's spelling of an assistant's files still works, but not under `--strict`.
FileIds = Annotated[list[str] | None, LENIENT_ONLY]


class Assistant(Struct, kw_only=True):
    """An assistant, as it is sent and as it is stored."""

    id: str
    object: Literal["assistant"] = "assistant"
    created_at: int
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool]
    top_p: float = 1.0
    temperature: float = 1.0
    reasoning_effort: ReasoningEffort | None = None
    tool_resources: ToolResources
    metadata: dict[str, str]
    response_format: ResponseFormat = "auto"


class AssistantCreateParams(Struct, kw_only=True):
    """The body of create; `model` alone is required."""

    id: Annotated[str | None, LENIENT_ONLY] = None
    model: ModelName
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: Tools | None = None
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ReasoningEffort | None = None
    file_ids: FileIds = None


class AssistantUpdateParams(Struct, kw_only=True):
    """The body of modify. Null puts a field back to what a new assistant has, where there is such a thing."""

    model: ModelName | None = None
    name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    instructions: Instructions | UnsetType | None = UNSET
    tools: Tools | None = None
    tool_resources: ToolResources | None = None
    metadata: MetadataPatch | None = None
    temperature: Temperature | UnsetType | None = UNSET
    top_p: TopP | UnsetType | None = UNSET
    response_format: ResponseFormat | UnsetType | None = UNSET
    reasoning_effort: ReasoningEffort | UnsetType | None = UNSET
    file_ids: FileIds = None


class AssistantDeleted(Struct, kw_only=True):
    """The answer of delete."""

    id: str
    object: Literal["assistant.deleted"] = "assistant.deleted"
    deleted: bool = True


_decode = msgspec.json.Decoder(Assistant).decode
_encode = msgspec.json.Encoder().encode


async def create(ctx: Context, params: AssistantCreateParams) -> Stored:
    """Creates an assistant. Any model name will do; a run says whether the model is there."""
    if params.id is not None:
        ids.check_given("id", params.id, "asst")
    _check(params)
    (params.tool_resources or ToolResources()).check()
    assistant = Assistant(
        id=ctx.new_id("asst") if params.id is None else params.id,
        created_at=ctx.now(),
        name=params.name,
        description=params.description,
        model=params.model,
        instructions=params.instructions,
        tools=params.tools or [],
        top_p=_or(params.top_p, 1.0),
        temperature=_or(params.temperature, 1.0),
        reasoning_effort=params.reasoning_effort,
        tool_resources=params.tool_resources or ToolResources(),
        metadata=params.metadata or {},
        response_format=_or(params.response_format, "auto"),
    )
    _settle_resources(assistant, params.file_ids)
    body = _encode(assistant)
    row = {"project_id": ctx.project_id, "assistant_id": assistant.id, "shape": SHAPE, "body": body.decode()}

    def unit(tx: Transaction) -> None:
        ctx.take_key(tx)
        projects.hold(tx, ctx.project_id)
        if not tx.run(sql.insert_assistant, **row):
            raise invalid.invalid_value("id", f"'{assistant.id}' is already in use")
        ctx.keep_answer(tx, body, assistant.id)

    await ctx.store.write(unit)
    return Stored(body)


async def retrieve(ctx: Context, assistant_id: str) -> Stored:
    """One assistant."""
    row = await ctx.store.one(sql.retrieve_assistant, project_id=ctx.project_id, assistant_id=assistant_id)
    if row is None:
        raise NotFoundError.of("assistant", assistant_id)
    return Stored(row[0])


async def list_(ctx: Context, params: ListParams) -> Page[Stored]:
    """A page of the project's assistants, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        def locate(assistant_id: str) -> int:
            row = tx.one(sql.locate_assistant, project_id=ctx.project_id, assistant_id=assistant_id)
            if row is None:
                raise NotFoundError.of("assistant", assistant_id)
            return int(row[0])

        window = Window.of(params, "asst", 0, BIGINT_MAX, locate)
        query = window.choose(sql.list_assistants_ascending, sql.list_assistants_descending)
        return window.page(tx.all(query, project_id=ctx.project_id, **window.bounds))

    return await ctx.store.read(unit)


async def update(ctx: Context, assistant_id: str, params: AssistantUpdateParams) -> Stored:
    """Replaces what is given; `metadata` merges, `tool_resources` replaces those of each tool it names."""
    _check(params)
    if params.tool_resources:
        params.tool_resources.check_patch(strict=ctx.settings.strict)
    place = {"project_id": ctx.project_id, "assistant_id": assistant_id}

    def unit(tx: Transaction) -> bytes:
        row = tx.one(sql.hold_assistant, **place)
        if row is None:
            raise NotFoundError.of("assistant", assistant_id)
        assistant = _decode(row[0])
        _apply(assistant, params)
        assistant.metadata = metadata.merge(assistant.metadata, params.metadata or {}, strict=ctx.settings.strict)
        body = _encode(assistant)
        tx.run(sql.update_assistant, shape=SHAPE, body=body.decode(), **place)
        return body

    return Stored(await ctx.store.write(unit))


async def delete(ctx: Context, assistant_id: str) -> AssistantDeleted:
    """Removes the assistant; its place in the order is remembered. Threads, and runs it had, stay."""

    def unit(tx: Transaction) -> None:
        if not tx.run(sql.delete_assistant, project_id=ctx.project_id, assistant_id=assistant_id):
            raise NotFoundError.of("assistant", assistant_id)
        idempotency.erase_object(tx, ctx.project_id, assistant_id)

    await ctx.store.write(unit)
    return AssistantDeleted(id=assistant_id)


def find(tx: Transaction, project_id: str, assistant_id: str) -> Assistant:
    """The assistant that a run names. Raises `NotFoundError`."""
    row = tx.one(sql.retrieve_assistant, project_id=project_id, assistant_id=assistant_id)
    if row is None:
        raise NotFoundError.of("assistant", assistant_id)
    return _decode(row[0])


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _check(params: AssistantCreateParams | AssistantUpdateParams) -> None:
    tools.check(params.tools or [], params.response_format)
    references.check_v1_files("file_ids", params.file_ids, references.V1_ASSISTANT_FILES_MAX)


def _apply(assistant: Assistant, params: AssistantUpdateParams) -> None:
    assistant.model = params.model or assistant.model
    if params.name is not UNSET:
        assistant.name = params.name
    if params.description is not UNSET:
        assistant.description = params.description
    if params.instructions is not UNSET:
        assistant.instructions = params.instructions
    if params.tools is not None:
        assistant.tools = params.tools
    if params.temperature is not UNSET:
        assistant.temperature = _or(params.temperature, 1.0)
    if params.top_p is not UNSET:
        assistant.top_p = _or(params.top_p, 1.0)
    if params.response_format is not UNSET:
        assistant.response_format = _or(params.response_format, "auto")
    if params.reasoning_effort is not UNSET:
        assistant.reasoning_effort = params.reasoning_effort
    if params.tool_resources:
        assistant.tool_resources = assistant.tool_resources.replaced_by(params.tool_resources)
    _settle_resources(assistant, params.file_ids)


def _settle_resources(assistant: Assistant, file_ids: list[str] | None) -> None:
    """Resources as the original showed them: a list of files, perhaps empty, wherever there is a code interpreter."""
    resources = assistant.tool_resources
    has_code_interpreter = tools.has_code_interpreter(assistant.tools)
    if file_ids is not None:
        resources = resources.with_v1_files(
            file_ids, code_interpreter=has_code_interpreter, file_search=tools.has_file_search(assistant.tools)
        )
    files = resources.code_interpreter.file_ids if resources.code_interpreter else []
    shown = CodeInterpreterResources(file_ids=files) if has_code_interpreter or files else None
    assistant.tool_resources = ToolResources(code_interpreter=shown, file_search=resources.file_search)
