"""Imports what was exported, here (`exports.py`) or elsewhere (`foreign.py`), with its ids, times and order.

Existing objects are not changed, so an import can be repeated and resumed. A line that cannot be imported is reported
with the reason, and the others are imported. Imported runs are history: none is resumed.

    lines.py       bytes become lines, or one document
    reading.py     a line becomes entries, and problems
    foreign.py     what others have exported, in whichever form, becomes objects of the API
    entries.py     an object is looked at: what can be stored of it, or why it cannot
    values.py      its JSON becomes values, within limits
    importer.py    entries become batches; what became of them becomes the report
    storing.py     a batch becomes rows, in one unit of work

Differs from OpenAI: there was no import.
"""

from __future__ import annotations

from msgspec import Struct

from threadkeep.context import Context
from threadkeep.imports.importer import OBJECTS_AT_ONCE, Importer, Report
from threadkeep.imports.reading import Problem
from threadkeep.streaming import Pieces

__all__ = ["OBJECTS_AT_ONCE", "ImportParams", "Importer", "Problem", "Report", "create"]


class ImportParams(Struct, kw_only=True, frozen=True):
    """The query of import."""

    dry_run: bool = False


async def create(ctx: Context, params: ImportParams, body: Pieces) -> Report:
    """Takes in lines of JSON, however many, or one JSON document of another program, which is held in memory."""
    importer = Importer(ctx, dry_run=params.dry_run, hold=body.hold)
    try:
        await importer.take(aiter(body))
        return await importer.finish()
    finally:
        await importer.close()
