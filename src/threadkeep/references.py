"""The files and vector stores that threads and messages name.

Their shape is checked here, and here alone; the check that they exist belongs here too, once files and vector stores
are resources of this server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from threadkeep import ids, invalid
from threadkeep.errors import BadRequestError
from threadkeep.metadata import Metadata

# The most files a message, and an assistant, could have in the API's first version.
V1_FILES_MAX = 10
V1_ASSISTANT_FILES_MAX = 20
# What a client is told who asks for these resources, or whose run needs these tools.
NOT_THERE_YET = (
    "This server does not have files and vector stores yet, nor the tools that need them, file_search and "
    "code_interpreter."
)


class AutoChunkingStrategy(Struct, tag_field="type", tag="auto"):
    """Chunks of 800 tokens that overlap by 400."""


class StaticChunking(Struct):
    """Sizes in tokens."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]


class StaticChunkingStrategy(Struct, tag_field="type", tag="static"):
    """Chunks of a given size."""

    static: StaticChunking


class VectorStoreHelper(Struct, omit_defaults=True):
    """A vector store to be made together with the thread.

    Differs from OpenAI: it is kept and given back as it was sent, because vector stores are not made yet.
    """

    file_ids: list[str] | None = None
    chunking_strategy: AutoChunkingStrategy | StaticChunkingStrategy | None = None
    metadata: Metadata | None = None


class CodeInterpreterResources(Struct):
    """Files that the code interpreter can read."""

    file_ids: Annotated[list[str], Meta(max_length=20)] | None = []

    def __post_init__(self) -> None:
        """What is sent as null is stored and told as an empty list."""
        if self.file_ids is None:
            self.file_ids = []


class FileSearchResources(Struct, omit_defaults=True):
    """The vector store that file search looks in, or one to be made."""

    vector_store_ids: Annotated[list[str], Meta(max_length=1)] | None = None
    vector_stores: Annotated[list[VectorStoreHelper], Meta(max_length=1)] | None = None


class ToolResources(Struct, omit_defaults=True):
    """What a thread gives to tools. The answer shows what is set, and `{}` when nothing is."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    def check(self, at: str = "") -> None:
        """Refuses ids of another kind, and a store both named and to be made.

        `at` is where the object that has them stands in the request.
        """
        at = f"{at}tool_resources"
        if self.code_interpreter:
            _check_files(f"{at}.code_interpreter.file_ids", self.code_interpreter.file_ids or ())
        if search := self.file_search:
            if search.vector_store_ids and search.vector_stores:
                raise BadRequestError(
                    "You can only specify one of 'vector_store_ids' and 'vector_stores'.", param=f"{at}.file_search"
                )
            for index, store_id in enumerate(search.vector_store_ids or ()):
                ids.check(f"{at}.file_search.vector_store_ids[{index}]", store_id, "vs")
            for index, helper in enumerate(search.vector_stores or ()):
                _check_files(f"{at}.file_search.vector_stores[{index}].file_ids", helper.file_ids or ())

    def check_patch(self, *, strict: bool) -> None:
        """The same for modify, which never made a store; the original refused to try."""
        self.check()
        if strict and self.file_search and self.file_search.vector_stores:
            raise invalid.unknown_parameter("tool_resources.file_search.vector_stores")

    def replaced_by(self, patch: ToolResources) -> ToolResources:
        """Modify: each tool that `patch` names gets the patch's resources, the others keep theirs."""
        return ToolResources(
            code_interpreter=patch.code_interpreter or self.code_interpreter,
            file_search=patch.file_search or self.file_search,
        )

    def with_v1_files(self, file_ids: list[str], *, code_interpreter: bool, file_search: bool) -> ToolResources:
        """The files of an assistant of the API's first version, given to each of its tools that reads files.

        With no such tool they are kept for the code interpreter.
        """
        store = FileSearchResources(vector_stores=[VectorStoreHelper(file_ids=file_ids)])
        named = self.file_search if self.file_search and self.file_search.vector_store_ids else None
        return ToolResources(
            code_interpreter=CodeInterpreterResources(file_ids if code_interpreter or not file_search else []),
            file_search=store if file_search and file_ids else named,
        )


class ToolType(Struct):
    """The name of a tool that an attached file is for."""

    type: Literal["code_interpreter", "file_search"]


class Attachment(Struct):
    """A file of a message and the tools that may read it."""

    file_id: str
    tools: list[ToolType]


def check_file(param: str, file_id: str) -> None:
    """Refuses what cannot be a file's id."""
    ids.check(param, file_id, "file", separator="-")


def check_attachments(param: str, attachments: Iterable[Attachment]) -> None:
    """Refuses attachments that name something other than a file."""
    for index, attachment in enumerate(attachments):
        check_file(f"{param}[{index}].file_id", attachment.file_id)


def check_v1_files(param: str, file_ids: list[str] | None, maximum: int) -> None:
    """Refuses what the first version refused of an object's `file_ids`."""
    if file_ids and len(file_ids) > maximum:
        raise invalid.array_too_long(param, maximum, len(file_ids))
    _check_files(param, file_ids or ())


def _check_files(param: str, file_ids: Iterable[str]) -> None:
    for index, file_id in enumerate(file_ids):
        check_file(f"{param}[{index}]", file_id)
