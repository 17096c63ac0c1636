"""The `OpenAI-Beta` header, and programs that still speak the API's first version.

Differs from OpenAI: outside `--strict` an absent header means v2, and `assistants=v1` is served: metadata values that
are not text are turned into text as v1 did, the tool `retrieval` is file search, `file_ids` become attachments
(`messages.py`) or resources of tools (`assistants.py`), and answers carry `file_ids` as well.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from threadkeep import validation
from threadkeep.errors import BadRequestError

_MIGRATION = "See the migration guide for more information: https://platform.openai.com/docs/assistants/migration."
_TRY = "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
# One tool under its names in v1 and v2.
RETRIEVAL, FILE_SEARCH = "retrieval", "file_search"
# What had `file_ids` in v1 and has resources of tools in v2.
WITH_FILES_OF_TOOLS = {"assistant", "thread.run"}
_SEPARATORS = re.compile(r"[,;\s]+")


def is_v1(header: bytes | None, *, strict: bool) -> bool:
    """Whether the request speaks v1. Raises `BadRequestError` where the original did, under `strict`."""
    if header == b"assistants=v2":
        return False
    tokens = _SEPARATORS.split(header.decode("latin-1").lower()) if header else []
    if "assistants=v2" in tokens:
        return False
    v1 = "assistants=v1" in tokens
    if strict:
        raise BadRequestError(
            f"The v1 Assistants API has been deprecated. {_TRY} {_MIGRATION}"
            if v1
            else f"You must provide the 'OpenAI-Beta' header to access the Assistants API. {_TRY}",
            code="invalid_beta",
        )
    return v1


def v1_is_gone() -> BadRequestError:
    """What the original said of an address that only the first version had."""
    return BadRequestError(f"The v1 Assistants API has been deprecated. {_MIGRATION}", code="invalid_beta")


def body_from_v1(body: bytes) -> bytes:
    """The body as v2 would have sent it."""
    value = validation.parse(body)
    _object_from_v1(value)
    return msgspec.json.encode(value)


def _object_from_v1(value: Any) -> None:
    if not isinstance(value, dict):
        return
    if isinstance(metadata := value.get("metadata"), dict):
        # Python's spelling (`True`), because that is what v1 stored.
        value["metadata"] = {
            key: str(item) if isinstance(item, bool | int | float) else item for key, item in metadata.items()
        }
    _rename_tools(value, RETRIEVAL, FILE_SEARCH)
    for name in ("messages", "additional_messages"):
        if isinstance(messages := value.get(name), list):
            for message in messages:
                _object_from_v1(message)
    # The thread of a request that creates a thread and runs it.
    _object_from_v1(value.get("thread"))


def _rename_tools(value: dict[str, Any], name: str, new_name: str) -> None:
    if isinstance(tools := value.get("tools"), list):
        value["tools"] = [
            {"type": new_name} if isinstance(tool, dict) and tool.get("type") == name else tool for tool in tools
        ]


def answer_to_v1(payload: bytes) -> bytes:
    """The answer, or each item of a list, with what v1 programs read: `file_ids`, and `retrieval` among the tools."""
    value = msgspec.json.decode(payload)
    for item in value.get("data", [value]):
        _rename_tools(item, FILE_SEARCH, RETRIEVAL)
        if isinstance(attachments := item.get("attachments"), list):
            item["file_ids"] = [attachment["file_id"] for attachment in attachments]
        elif item.get("object") in WITH_FILES_OF_TOOLS:
            item["file_ids"] = _files_of_tools(item.get("tool_resources") or {})
    return msgspec.json.encode(value)


def _files_of_tools(resources: dict[str, Any]) -> list[str]:
    lists = [
        (resources.get("code_interpreter") or {}).get("file_ids"),
        *(store.get("file_ids") for store in (resources.get("file_search") or {}).get("vector_stores") or ()),
    ]
    return list(dict.fromkeys(file_id for file_ids in lists for file_id in file_ids or ()))
