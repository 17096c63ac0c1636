"""What the original's request validator says: one function for each refusal.

Texts and codes are the wire's own, so that clients which match on them keep working. Each function makes the error;
the caller raises it. `param` is the exact place, such as `messages[3].metadata.key`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from threadkeep.errors import BadRequestError

# Python's `$` also matches before a last line feed. With this behind it, it does not; messages leave it out.
AND_NO_LINE_FEED = r"(?!\n)"
NumberKind: TypeAlias = Literal["integer", "decimal"]


def kind_of(value: object) -> str:
    """A JSON value's kind in the words of the validator."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _enumerate(words: Iterable[str], conjunction: str) -> str:
    *init, last = [f"'{word}'" for word in words]
    if len(init) > 1:
        return f"{', '.join(init)}, {conjunction} {last}"
    return f" {conjunction} ".join([*init, last])


def one_of(values: Iterable[str]) -> str:
    """A closed set in the words of the validator: `one of 'user' or 'assistant'`."""
    return f"one of {_enumerate(values, 'or')}"


def not_json(why: str = "") -> BadRequestError:
    """The body is not JSON. `why` adds what is known about the place."""
    return BadRequestError(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
        "library correctly. The API expects a JSON payload, but what was sent was not valid JSON."
        + (f" {why}" if why else "")
        + ")"
    )


def unknown_parameter(param: str) -> BadRequestError:
    """A field the API does not have (refused under `--strict` only)."""
    return BadRequestError(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def missing(param: str) -> BadRequestError:
    """A required field is absent."""
    return BadRequestError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def wrong_type(param: str, expected: str, got: object) -> BadRequestError:
    """A field has another JSON type; `expected` is in words (`a string`), `got` is the value itself."""
    where = f" for '{param}'" if param else ""
    return BadRequestError(
        f"Invalid type{where}: expected {expected}, but got {kind_of(got)} instead.",
        param=param or None,
        code="invalid_type",
    )


def not_in_enum(param: str, value: str, supported: Iterable[str]) -> BadRequestError:
    """A string outside its closed set."""
    return BadRequestError(
        f"Invalid value: '{value}'. Supported values are: {_enumerate(supported, 'and')}.",
        param=param,
        code="invalid_value",
    )


def wrong_id(param: str, value: str, prefix: str) -> BadRequestError:
    """An id that begins with something else, such as `undefined`."""
    return BadRequestError(
        f"Invalid '{param}': '{value}'. Expected an ID that begins with '{prefix}'.",
        param=param,
        code="invalid_value",
    )


def invalid_value(param: str, why: str) -> BadRequestError:
    """A value that breaks a rule no other form names; `why` is a sentence without its full stop."""
    return BadRequestError(f"Invalid '{param}': {why}.", param=param, code="invalid_value")


def pattern_mismatch(param: str, pattern: str) -> BadRequestError:
    """A string that does not match its pattern."""
    shown = pattern.removesuffix(AND_NO_LINE_FEED)
    return invalid_value(param, f"string does not match pattern. Expected a string that matches the pattern '{shown}'")


def string_too_long(param: str, maximum: int, got: int) -> BadRequestError:
    """Lengths are in characters."""
    return BadRequestError(
        f"Invalid '{param}': string too long. Expected a string with maximum length {maximum}, "
        f"but got a string with length {got} instead.",
        param=param,
        code="string_above_max_length",
    )


def empty_string(param: str) -> BadRequestError:
    """An empty string where at least one character is needed."""
    return BadRequestError(
        f"Invalid '{param}': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        param=param,
        code="empty_string",
    )


def array_too_long(param: str, maximum: int, got: int) -> BadRequestError:
    """More elements than allowed."""
    return BadRequestError(
        f"Invalid '{param}': array too long. Expected an array with maximum length {maximum}, "
        f"but got an array with length {got} instead.",
        param=param,
        code="array_above_max_length",
    )


def empty_array(param: str) -> BadRequestError:
    """An empty array where at least one element is needed."""
    return BadRequestError(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def too_many_properties(param: str, maximum: int, got: int) -> BadRequestError:
    """A map with too many pairs, counted after a merge."""
    return BadRequestError(
        f"Invalid '{param}': too many properties. Expected an object with at most {maximum} properties, "
        f"but got an object with {got} properties instead.",
        param=param,
        code="object_above_max_properties",
    )


def property_name_too_long(param: str, name: str, maximum: int) -> BadRequestError:
    """A map key longer than allowed."""
    return BadRequestError(
        f"Invalid property name in '{param}': '{name}' is too long. Expected a string with maximum length {maximum}, "
        f"but got a string with length {len(name)} instead.",
        param=f"{param}.{name}",
        code="property_name_above_max_length",
    )


def above_maximum(param: str, maximum: float, got: float, kind: NumberKind = "integer") -> BadRequestError:
    """A number over its upper bound; `kind` is the parameter's, whatever was sent."""
    return BadRequestError(
        f"Invalid '{param}': {kind} above maximum value. Expected a value <= {maximum}, but got {got} instead.",
        param=param,
        code=f"{kind}_above_max_value",
    )


def below_minimum(param: str, minimum: float, got: float, kind: NumberKind = "integer") -> BadRequestError:
    """A number under its lower bound; `kind` is the parameter's, whatever was sent."""
    return BadRequestError(
        f"Invalid '{param}': {kind} below minimum value. Expected a value >= {minimum}, but got {got} instead.",
        param=param,
        code=f"{kind}_below_min_value",
    )
