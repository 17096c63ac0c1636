"""Metadata: up to 16 pairs of text that a client hangs on an object.

Modify merges key by key.
Differs from OpenAI: a null value removes its key; the original had no way to remove one. Refused under `--strict`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from threadkeep import invalid

PAIRS_MAX = 16
Key: TypeAlias = Annotated[str, Meta(max_length=64)]
Value: TypeAlias = Annotated[str, Meta(max_length=512)]
Metadata: TypeAlias = Annotated[dict[Key, Value], Meta(max_length=PAIRS_MAX)]
# The limit on pairs holds for the merged result, so a patch may be longer.
MetadataPatch: TypeAlias = dict[Key, Value | None]


def merge(current: dict[str, str], patch: MetadataPatch, *, strict: bool) -> dict[str, str]:
    """`current` with the pairs of `patch` set, and those that are null removed."""
    merged = dict(current)
    for key, value in patch.items():
        if value is not None:
            merged[key] = value
        elif strict:
            raise invalid.wrong_type(f"metadata.{key}", "a string", None)
        else:
            merged.pop(key, None)
    if len(merged) > PAIRS_MAX:
        raise invalid.too_many_properties("metadata", PAIRS_MAX, len(merged))
    return merged
