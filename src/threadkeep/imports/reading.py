"""A line becomes entries, and problems where it cannot: a line of our own format one, one of others any number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from threadkeep.imports import entries, foreign, values
from threadkeep.imports.entries import Entry
from threadkeep.imports.foreign import NotUnderstoodError, Told
from threadkeep.imports.values import RefusedError


class Problem(Struct):
    """What could not be taken in, and why."""

    where: str
    kind: str
    id: str
    problem: str


def read(where: str, kind: str, value: Any) -> Entry | Problem:
    """An object of our own format, ready to be stored, or why it cannot be."""
    try:
        return entries.prepare(where, kind, value)
    except RefusedError as error:
        return Problem(where, kind, entries.id_of(value), str(error))


def read_foreign(reader: foreign.Reader, where: str, line: bytes) -> Iterator[Entry | Problem]:
    """The objects in a line, or a document, of another program."""
    try:
        value = values.decode(line)
    except RefusedError as error:
        yield Problem(where, "", "", str(error))
    else:
        yield from read_told(where, reader.read(value, len(line)))


def read_told(where: str, told: Iterator[Told]) -> Iterator[Entry | Problem]:
    """The objects that a reader finds, up to what it does not understand."""
    try:
        for kind, value, problem in told:
            yield Problem(where, kind, entries.id_of(value), problem) if problem else read(where, kind, value)
    except NotUnderstoodError as error:
        yield Problem(where, "", "", str(error))
    except (KeyError, TypeError, AttributeError):
        yield Problem(where, "", "", "its parts are not what they should be")
