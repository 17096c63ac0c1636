"""The tools of assistants and runs, how a run may choose among them, and the format of its answers.

Wire types only, the same in requests and answers: defaults are filled in where the original did.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from threadkeep import invalid

TOOLS_MAX = 128
NAME_CHARACTERS_MAX = 64
NAME_PATTERN = "^[a-zA-Z0-9_-]+$"
# A schema nested deeper could not be read back where the stack is already deep.
NESTING_MAX = 100

Identifier: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_CHARACTERS_MAX,
        pattern=NAME_PATTERN + invalid.AND_NO_LINE_FEED,
        extra_json_schema={"pattern": NAME_PATTERN},
    ),
]


class FunctionDefinition(Struct, kw_only=True):
    """A function that the client executes. `parameters` is a JSON Schema, kept as it was sent."""

    name: Identifier
    description: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET
    strict: bool | None = False

    def __post_init__(self) -> None:
        """What is sent as null is stored and told as what is absent: the answer's schema has no null here."""
        self.description = UNSET if self.description is None else self.description
        self.parameters = UNSET if self.parameters is None else self.parameters
        self.strict = bool(self.strict)


class FunctionTool(Struct, tag_field="type", tag="function"):
    """A function the model may ask the client to call."""

    function: FunctionDefinition


class CodeInterpreterTool(Struct, tag_field="type", tag="code_interpreter"):
    """Runs Python; this server does not have it yet."""


class HybridSearch(Struct, kw_only=True, frozen=True):
    """Weights of the two rankings that are merged."""

    embedding_weight: float
    text_weight: float


class RankingOptions(Struct, kw_only=True, frozen=True):
    """How passages are ranked, with the original's defaults."""

    ranker: Literal["auto", "default_2024_08_21"] = "default_2024_08_21"
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0
    hybrid_search: HybridSearch | None = None


class FileSearchOptions(Struct, kw_only=True, frozen=True):
    """`max_num_results` is echoed only when it was given."""

    max_num_results: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    ranking_options: RankingOptions = RankingOptions()


class FileSearchTool(Struct, tag_field="type", tag="file_search"):
    """Searches vector stores; this server does not have it yet."""

    file_search: FileSearchOptions = FileSearchOptions()


Tool: TypeAlias = FunctionTool | CodeInterpreterTool | FileSearchTool
Tools: TypeAlias = Annotated[list[Tool], Meta(max_length=TOOLS_MAX)]


class FunctionName(Struct):
    """The function that must be called."""

    name: str


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """One function, and no other, in the first turn."""

    function: FunctionName


class CodeInterpreterChoice(Struct, tag_field="type", tag="code_interpreter"):
    """The code interpreter, in the first turn."""


class FileSearchChoice(Struct, tag_field="type", tag="file_search"):
    """File search, in the first turn."""


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | FunctionChoice | CodeInterpreterChoice | FileSearchChoice


class TextFormat(Struct, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct, kw_only=True):
    """A named JSON Schema, echoed as it was sent."""

    name: Identifier
    description: str | UnsetType | None = UNSET
    schema: dict[str, Any] | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        """What is sent as null is stored and told as what is absent, except `strict`, which may be null."""
        self.description = UNSET if self.description is None else self.description
        self.schema = UNSET if self.schema is None else self.schema


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON that follows a schema."""

    json_schema: JsonSchema


ResponseFormat: TypeAlias = Literal["auto"] | TextFormat | JsonObjectFormat | JsonSchemaFormat
ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Temperature: TypeAlias = Annotated[float, Meta(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, Meta(ge=0, le=1)]


def check(tools: list[Tool], response_format: ResponseFormat | UnsetType | None) -> None:
    """Refuses schemas that could be taken in but not read back."""
    for index, tool in enumerate(tools):
        if isinstance(tool, FunctionTool) and isinstance(tool.function.parameters, dict):
            _check_nesting(f"tools[{index}].function.parameters", tool.function.parameters)
    if isinstance(response_format, JsonSchemaFormat) and isinstance(response_format.json_schema.schema, dict):
        _check_nesting("response_format.json_schema.schema", response_format.json_schema.schema)


def _check_nesting(param: str, schema: dict[str, Any]) -> None:
    if is_nested_deeper(schema, NESTING_MAX):
        raise invalid.invalid_value(param, f"it is nested too deeply, at most {NESTING_MAX} levels are allowed")


def is_nested_deeper(value: Any, levels_max: int) -> bool:
    """Whether there are more objects and arrays within each other."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels_max):
        if not level:
            return False
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def check_choice(choice: ToolChoice, tools: list[Tool]) -> None:
    """Refuses to force a tool that the run does not have."""
    if isinstance(choice, str):
        return
    kind = choice.__struct_config__.tag
    has_it = (
        choice.function.name in _function_names(tools)
        if isinstance(choice, FunctionChoice)
        else any(tool.__struct_config__.tag == kind for tool in tools)
    )
    if not has_it:
        name = choice.function.name if isinstance(choice, FunctionChoice) else kind
        raise invalid.invalid_value("tool_choice", f"the tool '{name}' is not among 'tools'")


def _function_names(tools: list[Tool]) -> set[str]:
    """The names of the functions among `tools`."""
    return {tool.function.name for tool in tools if isinstance(tool, FunctionTool)}


def has_code_interpreter(tools: list[Tool]) -> bool:
    """Whether the code interpreter is among `tools`."""
    return any(isinstance(tool, CodeInterpreterTool) for tool in tools)


def has_file_search(tools: list[Tool]) -> bool:
    """Whether file search is among `tools`."""
    return any(isinstance(tool, FileSearchTool) for tool in tools)


def hosted(tools: list[Tool]) -> list[str]:
    """The tools that the server itself would have to execute, by type."""
    return [str(tool.__struct_config__.tag) for tool in tools if not isinstance(tool, FunctionTool)]
