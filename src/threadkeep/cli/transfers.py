"""Exports and imports at the command line: files, folders and pipes, and how far they are."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias

from threadkeep import exports
from threadkeep.context import Context
from threadkeep.errors import CommandError
from threadkeep.imports import Importer, Report
from threadkeep.store import files
from threadkeep.store.interface import Store

Counts: TypeAlias = Counter[str]

PIPE = "-"
PIECE_BYTES = 256 * 1024
SHOWN_EVERY_S = 0.2
# How often a silent pipe is left for a moment, to heed Ctrl-C.
HEED_EVERY_S = 0.5
PROBLEMS_SHOWN = 20
_PLURALS = {"run_step": "run steps", "message_version": "earlier versions"}


async def write(store: Store, project_id: str, file: str) -> Counts:
    """Writes a project's export to a new file or to standard output; gives how many objects it has. A file that is not
    complete does not stay.
    """
    counts: Counts = Counter()
    path = None if file == PIPE else Path(file)
    try:
        with _opened_new(path) as out, _Progress() as progress:
            async for piece in exports.lines(store, project_id, counts):
                out.write(piece)
                progress.show(lambda: spell(counts))
            out.flush()
            if path:
                os.fsync(out.fileno())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"Cannot write {file}: {error.strerror}.") from None
    return counts


async def read(ctx: Context, file: str, *, dry_run: bool) -> Report:
    """Takes in a file, all files of another exporter's folder, or standard input."""
    importer = Importer(ctx, dry_run=dry_run)
    sources = list(_sources(file))
    try:
        with _Progress() as progress:
            for path in sources:
                name = _shown(path.relative_to(file)) if path and len(sources) > 1 else ""
                await _take(importer, path, name, progress)
            return await importer.finish()
    finally:
        await importer.close()


async def _take(importer: Importer, path: Path | None, name: str, progress: _Progress) -> None:
    try:
        with path.open("rb", 0) if path else os.fdopen(os.dup(sys.stdin.fileno()), "rb", 0) as source:
            await importer.take(_pieces(source, progress, importer.report), name)
    except OSError as error:
        raise CommandError(f"Cannot read {path or 'standard input'}: {error.strerror}.") from None


def spell(counts: dict[str, int]) -> str:
    """Such as `3 threads, 1 message`."""
    return ", ".join(
        f"{count} {kind.replace('_', ' ') if count == 1 else _PLURALS.get(kind, kind + 's')}"
        for kind, count in counts.items()
        if count
    )


def told(report: Report) -> Iterator[str]:
    """The report for people."""
    yield f"{'would import' if report.dry_run else 'imported'} {spell(report.created) or 'nothing'}"
    if known := spell(report.known):
        yield f"already there: {known}"
    for problem in report.problems[:PROBLEMS_SHOWN]:
        what = " ".join(filter(None, (problem.kind, problem.id)))
        yield _on_one_line(f"{problem.where}: {what}{': ' if what else ''}{problem.problem}")
    if report.refused > PROBLEMS_SHOWN:
        yield f"... and {report.refused - PROBLEMS_SHOWN} more; --json shows the first thousand"


def _on_one_line(text: str) -> str:
    """What others have written must not move about on a terminal, nor look like another line of the report."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


@contextmanager
def _opened_new(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    # What was said is nobody else's business.
    with files.new_file(path) as partial, partial.open("wb") as out:
        yield out


def _sources(file: str) -> Iterator[Path | None]:
    """The files to read, parents first; None is standard input."""
    path = Path(file)
    if file == PIPE:
        yield None
    elif path.is_dir():
        found = [path / "assistants.json", *sorted((path / "threads").glob("*.json"))]
        existing = [one for one in found if one.is_file()]
        if not existing:
            raise CommandError(f"{path} has neither assistants.json nor threads/*.json.", "Name the file itself.")
        yield from existing
    elif path.exists():
        yield path
    else:
        raise CommandError(f"There is no file at {path}.")


def _shown(path: Path) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(path).decode(errors="replace")


async def _pieces(source: FileIO, progress: _Progress, report: Report) -> AsyncIterator[bytes]:
    while True:
        await _readable(source)
        if not (piece := source.read(PIECE_BYTES)):
            return
        yield piece
        progress.show(lambda: spell(report.created) or spell(report.known))


async def _readable(source: FileIO) -> None:
    """Waits for a pipe, which may be silent for long: Ctrl-C is heeded only while the event loop is free."""
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(source, is_readable.set)
    except OSError:
        # A file, of which there is always something to read.
        return
    try:
        while not is_readable.is_set():
            # A signal that comes just before the event loop begins to wait does not wake it.
            with suppress(TimeoutError):
                await asyncio.wait_for(is_readable.wait(), HEED_EVERY_S)
    finally:
        loop.remove_reader(source)


class _Progress:
    """A line on a terminal that says how far it is; nothing where nobody looks."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, text: Callable[[], str]) -> None:
        """Shows it, a few times a second."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + SHOWN_EVERY_S
            print(f"\r\x1b[K{text()}", end="", file=sys.stderr, flush=True)
