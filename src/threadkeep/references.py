"""The files and vector stores that threads and messages name.

Their shape is checked here, and here alone; the check that they exist belongs here too, once files and vector stores
are resources of this server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from threadkeep import ids
from threadkeep.errors import BadRequestError
from threadkeep.metadata import Metadata

# The most files a message could have in the API's first version.
V1_FILES_MAX = 10


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


class FileSearchResources(Struct, omit_defaults=True):
    """The vector store that file search looks in, or one to be made."""

    vector_store_ids: Annotated[list[str], Meta(max_length=1)] | None = None
    vector_stores: Annotated[list[VectorStoreHelper], Meta(max_length=1)] | None = None


class ToolResources(Struct, omit_defaults=True):
    """What a thread gives to tools. The answer shows what is set, and `{}` when nothing is."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    def check(self) -> None:
        """Refuses ids of another kind, and a store both named and to be made; null becomes an empty list."""
        at = "tool_resources"
        if self.code_interpreter:
            self.code_interpreter.file_ids = self.code_interpreter.file_ids or []
            _check_all(f"{at}.code_interpreter.file_ids", self.code_interpreter.file_ids, "file")
        if search := self.file_search:
            if search.vector_store_ids and search.vector_stores:
                raise BadRequestError(
                    "You can only specify one of 'vector_store_ids' and 'vector_stores'.", param=f"{at}.file_search"
                )
            _check_all(f"{at}.file_search.vector_store_ids", search.vector_store_ids or (), "vs")
            for index, helper in enumerate(search.vector_stores or ()):
                _check_all(f"{at}.file_search.vector_stores[{index}].file_ids", helper.file_ids or (), "file")

    @property
    def makes_vector_store(self) -> bool:
        """Whether a vector store is to be made."""
        return bool(self.file_search and self.file_search.vector_stores)

    def replaced_by(self, patch: ToolResources) -> ToolResources:
        """Modify: each tool that `patch` names gets the patch's resources, the others keep theirs."""
        return ToolResources(
            code_interpreter=patch.code_interpreter or self.code_interpreter,
            file_search=patch.file_search or self.file_search,
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


def _check_all(param: str, object_ids: Iterable[str], prefix: str) -> None:
    separator = "-" if prefix == "file" else "_"
    for index, object_id in enumerate(object_ids):
        ids.check(f"{param}[{index}]", object_id, prefix, separator)
