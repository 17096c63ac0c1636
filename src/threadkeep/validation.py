"""The second look at a refused value: which field is wrong, in the original's words.

The decoder decides whether a value fits its type, and is fast; it does not say where in the form clients know.
`explain` walks the decoded JSON beside the very same types and finds the first thing that is wrong, so each limit
stands once: on the type. The order is the original's: unknown, missing, type, range.
"""

from __future__ import annotations

import json
import re
import typing
from functools import cache
from typing import Any, Literal

import msgspec
import msgspec.inspect as mi
from msgspec import Meta

from threadkeep import invalid
from threadkeep.errors import BadRequestError

# Marks a field that the original does not have, as `Annotated[str | None, LENIENT_ONLY]`: unknown under `--strict`.
LENIENT_ONLY = Meta(extra={"lenient_only": True})

# What is expected, alone and as the items of an array.
_KINDS: dict[type, tuple[str, str]] = {
    mi.StrType: ("a string", "strings"),
    mi.LiteralType: ("a string", "strings"),
    mi.IntType: ("an integer", "integers"),
    mi.FloatType: ("a decimal", "decimals"),
    mi.BoolType: ("a boolean", "booleans"),
    mi.ListType: ("an array", "arrays"),
    mi.DictType: ("an object", "objects"),
    mi.StructType: ("an object", "objects"),
}


def parse(body: bytes) -> Any:
    """The JSON of a body. Raises `BadRequestError` for what is not JSON, or not JSON this server can keep."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise invalid.not_json("It is nested too deeply.") from None
    except msgspec.ValidationError:
        raise invalid.not_json("It holds a number that is out of range.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _explain_syntax(body) from None


def _explain_syntax(body: bytes) -> BadRequestError:
    try:
        json.loads(body.decode())
    except UnicodeDecodeError:
        return invalid.not_json("It is not valid UTF-8.")
    except json.JSONDecodeError as error:
        return invalid.not_json(f"The first mistake is at line {error.lineno}, column {error.colno}.")
    except (RecursionError, ValueError):
        return invalid.not_json()
    # What the lenient parser of the standard library accepts and we do not.
    return invalid.not_json("It holds half of a surrogate pair, or NaN or Infinity.")


def explain(value: Any, wanted: Any, *, strict: bool) -> BadRequestError | None:
    """The first thing wrong with `value` for the type `wanted`; None when it fits."""
    return _Explainer(strict=strict).value(value, _type_info(wanted), "")


@cache
def _type_info(wanted: Any) -> mi.Type:
    return mi.type_info(wanted)


def refuse_nul(value: Any) -> None:
    """Refuses U+0000 anywhere: PostgreSQL cannot keep it, and an answer must not depend on the database."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        at, item = waiting.pop()
        if isinstance(item, str):
            if "\x00" in item:
                raise invalid.invalid_value(at, "the character U+0000 cannot be stored")
        elif isinstance(item, list):
            waiting.extend((f"{at}[{index}]", element) for index, element in enumerate(item))
        elif isinstance(item, dict):
            for key, element in item.items():
                if "\x00" in key:
                    raise invalid.invalid_value(at, "the character U+0000 cannot be stored in a property name")
                waiting.append((_join(at, key), element))


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


class _Explainer:
    """Walks a value beside its type; each method gives the first thing wrong, or None."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._literals: dict[frozenset[Any], tuple[Any, ...]] = {}

    def value(self, value: Any, wanted: mi.Type, at: str) -> BadRequestError | None:
        match wanted:
            case mi.Metadata(type=inner):
                return self.value(value, inner, at)
            case mi.UnionType():
                return self.union(value, wanted, at)
            case mi.StructType():
                return self.struct(value, wanted, at)
            case mi.DictType():
                return self.map(value, wanted, at)
            case mi.ListType():
                return self.array(value, wanted, at)
            case mi.StrType():
                return _explain_text(value, wanted, at)
            case mi.LiteralType():
                if not isinstance(value, str):
                    return invalid.wrong_type(at, self.kind(wanted), value)
                return None if value in wanted.values else invalid.not_in_enum(at, value, self.values(wanted))
            case mi.IntType() | mi.FloatType():
                return _explain_number(value, wanted, at)
            case _:
                return None if _is_kind(value, wanted) else invalid.wrong_type(at, self.kind(wanted), value)

    def values(self, wanted: mi.LiteralType) -> tuple[Any, ...]:
        """The closed set in the order in which the type names it."""
        return self._literals[frozenset(wanted.values)]

    def kind(self, wanted: mi.Type) -> str:
        """What is expected, in words: `a string`, `an array of objects`, `one of 'user' or 'assistant'`."""
        if isinstance(wanted, mi.LiteralType):
            return invalid.one_of(self.values(wanted))
        if isinstance(wanted, mi.ListType):
            item = _bare(wanted.item_type)
            first = _bare(item.types[0]) if isinstance(item, mi.UnionType) else item
            return f"an array of {_KINDS[type(first)][1]}"
        return _KINDS[type(wanted)][0]

    def one_of(self, options: list[mi.Type]) -> str:
        """`a string`, or `one of a string or array of objects`."""
        first, *others = dict.fromkeys(self.kind(option) for option in options)
        if not others:
            return first
        return f"one of {' or '.join([first, *(other.split(maxsplit=1)[1] for other in others)])}"

    def union(self, value: Any, wanted: mi.UnionType, at: str) -> BadRequestError | None:
        if value is None and wanted.includes_none:
            return None
        options = [_bare(option) for option in wanted.types if not isinstance(option, mi.NoneType)]
        fitting = [option for option in options if _is_kind(value, option)]
        if not fitting:
            return invalid.wrong_type(at, self.one_of(options), value)
        if isinstance(fitting[0], mi.StructType) and len(fitting) > 1:
            return self.tagged(value, [o for o in fitting if isinstance(o, mi.StructType)], at)
        return self.value(value, fitting[0], at)

    def tagged(self, value: dict[str, Any], options: list[mi.StructType], at: str) -> BadRequestError | None:
        tag_field = options[0].tag_field or "type"
        tag_at = _join(at, tag_field)
        if tag_field not in value:
            return invalid.missing(tag_at)
        tag = value[tag_field]
        if not isinstance(tag, str):
            return invalid.wrong_type(tag_at, "a string", tag)
        for option in options:
            if option.tag == tag:
                return self.struct(value, option, at)
        return invalid.not_in_enum(tag_at, tag, [str(option.tag) for option in options])

    def struct(self, value: Any, wanted: mi.StructType, at: str) -> BadRequestError | None:
        if not isinstance(value, dict):
            return invalid.wrong_type(at, "an object", value)
        self._literals |= _literals_of(wanted.cls)
        fields = {field.encode_name: field for field in wanted.fields}
        if self._strict:
            for name in value:
                if name != wanted.tag_field and (name not in fields or _is_lenient_only(fields[name].type)):
                    return invalid.unknown_parameter(_join(at, name))
        for name, field in fields.items():
            if field.required and name not in value:
                return invalid.missing(_join(at, name))
        for name, item in value.items():
            if name in fields and (error := self.value(item, fields[name].type, _join(at, name))):
                return error
        return None

    def map(self, value: Any, wanted: mi.DictType, at: str) -> BadRequestError | None:
        if not isinstance(value, dict):
            return invalid.wrong_type(at, "an object", value)
        for key, item in value.items():
            if error := self.value(item, wanted.value_type, _join(at, key)):
                return error
        if wanted.max_length is not None and len(value) > wanted.max_length:
            return invalid.too_many_properties(at, wanted.max_length, len(value))
        key_type = _bare(wanted.key_type)
        if isinstance(key_type, mi.StrType) and key_type.max_length is not None:
            for key in value:
                if len(key) > key_type.max_length:
                    return invalid.property_name_too_long(at, key, key_type.max_length)
        return None

    def array(self, value: Any, wanted: mi.ListType, at: str) -> BadRequestError | None:
        if not isinstance(value, list):
            return invalid.wrong_type(at, self.kind(wanted), value)
        if wanted.min_length and not value:
            return invalid.empty_array(at)
        if wanted.max_length is not None and len(value) > wanted.max_length:
            return invalid.array_too_long(at, wanted.max_length, len(value))
        for index, item in enumerate(value):
            if error := self.value(item, wanted.item_type, f"{at}[{index}]"):
                return error
        return None


@cache
def _literals_of(struct: type) -> dict[frozenset[Any], tuple[Any, ...]]:
    """The values of each `Literal` in the order they are written in, which `msgspec.inspect` does not keep."""
    found = {}
    waiting = list(typing.get_type_hints(struct).values())
    while waiting:
        hint = waiting.pop()
        if typing.get_origin(hint) is Literal:
            found[frozenset(typing.get_args(hint))] = typing.get_args(hint)
        else:
            waiting.extend(typing.get_args(hint))
    return found


def _is_lenient_only(field_type: mi.Type) -> bool:
    return isinstance(field_type, mi.Metadata) and field_type.extra == LENIENT_ONLY.extra


def _explain_text(value: Any, wanted: mi.StrType, at: str) -> BadRequestError | None:
    if not isinstance(value, str):
        return invalid.wrong_type(at, "a string", value)
    if wanted.min_length and not value:
        return invalid.empty_string(at)
    if wanted.max_length is not None and len(value) > wanted.max_length:
        return invalid.string_too_long(at, wanted.max_length, len(value))
    if wanted.pattern is not None and not re.search(wanted.pattern, value):
        return invalid.pattern_mismatch(at, wanted.pattern)
    return None


def _explain_number(value: Any, wanted: mi.IntType | mi.FloatType, at: str) -> BadRequestError | None:
    if not _is_kind(value, wanted):
        return invalid.wrong_type(at, _KINDS[type(wanted)][0], value)
    kind: invalid.NumberKind = "integer" if isinstance(wanted, mi.IntType) else "decimal"
    if wanted.ge is not None and value < wanted.ge:
        return invalid.below_minimum(at, wanted.ge, value, kind)
    if wanted.le is not None and value > wanted.le:
        return invalid.above_maximum(at, wanted.le, value, kind)
    return None


def _bare(wanted: mi.Type) -> mi.Type:
    return _bare(wanted.type) if isinstance(wanted, mi.Metadata) else wanted


def _is_kind(value: Any, wanted: mi.Type) -> bool:
    match wanted:
        case mi.StrType() | mi.LiteralType():
            return isinstance(value, str)
        case mi.BoolType():
            return isinstance(value, bool)
        case mi.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case mi.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case mi.ListType():
            return isinstance(value, list)
        case mi.NoneType():
            return value is None
        case mi.AnyType():
            return True
        case _:
            return isinstance(value, dict)
