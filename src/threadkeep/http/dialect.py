"""The `OpenAI-Beta` header, and programs that still speak the API's first version.

Differs from OpenAI: outside `--strict` an absent header means v2, and `assistants=v1` is served: metadata values that
are not text are turned into text as v1 did, `file_ids` of messages become attachments (`messages.py`), and answers
carry `file_ids` as well.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from threadkeep.errors import BadRequestError
from threadkeep.http import validation

_MIGRATION = "See the migration guide for more information: https://platform.openai.com/docs/assistants/migration."
_TRY = "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
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


def body_from_v1(body: bytes) -> bytes:
    """The body as v2 would have sent it."""
    value = validation.parse(body)
    _metadata_to_text(value)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        for message in value["messages"]:
            _metadata_to_text(message)
    return msgspec.json.encode(value)


def _metadata_to_text(value: Any) -> None:
    if isinstance(value, dict) and isinstance(metadata := value.get("metadata"), dict):
        # Python's spelling (`True`), because that is what v1 stored.
        value["metadata"] = {
            key: str(item) if isinstance(item, bool | int | float) else item for key, item in metadata.items()
        }


def answer_to_v1(payload: bytes) -> bytes:
    """The answer with the `file_ids` that v1 programs read, on a message and on each message of a list."""
    value = msgspec.json.decode(payload)
    for item in value.get("data", [value]):
        if isinstance(attachments := item.get("attachments"), list):
            item["file_ids"] = [attachment["file_id"] for attachment in attachments]
    return msgspec.json.encode(value)
