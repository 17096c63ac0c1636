"""Query strings, decoded into the parameter type that a route names."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect as mi

from threadkeep import invalid, validation
from threadkeep.errors import BadRequestError

T = TypeVar("T")

FIELDS_MAX = 100
REMEMBERED_MAX = 1024
REMEMBERED_BYTES_MAX = 200
# Azure's clients send it with every request, and it means nothing here.
AZURE_VERSION = "api-version"
_IN_MAP = re.compile(r"(?P<name>\w+)\[(?P<key>.*)\]", re.DOTALL)
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")


def parse(query_string: bytes, wanted: type[T], *, strict: bool) -> T:
    """The parameters of a list; raises `BadRequestError` as a body would."""
    read = _remembered if len(query_string) <= REMEMBERED_BYTES_MAX else _parse
    params: T = read(query_string, wanted, strict)
    return params


def _parse(query_string: bytes, wanted: Any, strict: bool) -> Any:  # noqa: FBT001 - a key of the cache
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadRequestError(f"Too many query parameters: at most {FIELDS_MAX} are allowed.") from None
    value = _gather(pairs, wanted)
    validation.refuse_nul(value)
    error = validation.explain(value, wanted, strict=strict)
    if error:
        raise error
    return msgspec.convert(value, wanted)


# Programs send the same few queries again and again, and parameters are never changed.
_remembered: Callable[[bytes, Any, bool], Any] = lru_cache(maxsize=REMEMBERED_MAX)(_parse)


@cache
def _field_types(wanted: type) -> dict[str, mi.Type]:
    struct = mi.type_info(wanted)
    assert isinstance(struct, mi.StructType)
    return {field.encode_name: _without_none(field.type) for field in struct.fields}


def _without_none(wanted: mi.Type) -> mi.Type:
    """The type itself, for a parameter that may be left out."""
    while isinstance(wanted, mi.Metadata):
        wanted = wanted.type
    if isinstance(wanted, mi.UnionType):
        [wanted] = [_without_none(option) for option in wanted.types if not isinstance(option, mi.NoneType)]
    return wanted


def _gather(pairs: list[tuple[str, str]], wanted: type) -> dict[str, Any]:
    types = _field_types(wanted)
    value: dict[str, Any] = {}
    for name, text in pairs:
        if name == AZURE_VERSION:
            continue
        in_map = _IN_MAP.fullmatch(name)
        if in_map and isinstance(types.get(in_map["name"]), mi.DictType):
            entries = value.setdefault(in_map["name"], {})
            if isinstance(entries, dict) and entries.setdefault(in_map["key"], text) != text:
                raise invalid.invalid_value(name, "it is given twice with different values")
        elif isinstance(types.get(name.removesuffix("[]")), mi.ListType):
            value.setdefault(name.removesuffix("[]"), []).append(text)
        elif isinstance(types.get(name), mi.IntType) and _INTEGER.fullmatch(text):
            value[name] = int(text)
        elif isinstance(types.get(name), mi.BoolType) and text in _BOOLEANS:
            value[name] = _BOOLEANS[text]
        else:
            value[name] = text
    return value
