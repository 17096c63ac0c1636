"""Measures what threads as data cost: import, index, search, export, copy. With `--write` it keeps the results and
writes docs/reference/performance-data.md.

python -m bench.transfers sqlite postgres --write    what `make bench-data` does: a million messages in each
python -m bench.transfers --render                   writes the page again from the results that are kept
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2

from bench import machine, postgres, results, sheet
from bench.figures import Figure
from bench.operations import KEY
from bench.processes import MEMORY_EVERY_S, Server
from bench.results import Part
from bench.transfers import page

MESSAGES = 1_000_000
MESSAGES_A_THREAD = 10
LONG_THREADS = {"thread_long1000": 1000, "thread_long50000": 50_000}
VOCABULARY = 50_000
WORDS_A_MESSAGE = 30
QUERIES = 200
COPIES = 20
HEADERS = {"Authorization": f"Bearer {KEY}"}


def write_lines(path: Path, messages: int, words: list[str]) -> None:
    """A file to import: `messages` messages, words of which some are common and most are rare."""
    draw = random.Random(1)
    pool = [words[min(int(draw.paretovariate(0.7)), VOCABULARY) - 1] for _ in range(100_000)]
    with path.open("w") as out:

        def tell(kind, **fields):
            out.write(json.dumps({"kind": kind, "object": fields}, separators=(",", ":")) + "\n")

        out.write('{"format":"threadkeep-export","version":1}\n')
        lengths = [*LONG_THREADS.items()]
        rest = messages - sum(LONG_THREADS.values())
        lengths += [(f"thread_{number:024}", MESSAGES_A_THREAD) for number in range(rest // MESSAGES_A_THREAD)]
        # As an export has them: some threads, then their messages.
        for start in range(0, len(lengths), 100):
            some = lengths[start : start + 100]
            for at, (thread_id, _) in enumerate(some, start=start):
                tell("thread", id=thread_id, object="thread", created_at=10**9 + at, metadata={}, tool_resources={})
            for thread_id, length in some:
                for number in range(length):
                    text = " ".join(draw.choices(pool, k=WORDS_A_MESSAGE))
                    tell(
                        "message",
                        id=f"msg_{thread_id[-12:]}{number:012}",
                        object="thread.message",
                        created_at=10**9 + start * 10 + number,
                        thread_id=thread_id,
                        role="user",
                        content=[{"type": "text", "text": {"value": text, "annotations": []}}],
                        attachments=[],
                        metadata={},
                        status="completed",
                        completed_at=10**9 + start * 10 + number,
                    )
        out.write('{"kind":"end","object":{}}\n')


class Bench:
    """One database's part of a run."""

    def __init__(self, url: str, folder: Path, messages: int, tidy: Callable[[], None]) -> None:
        self._url = url
        self._folder = folder
        self._messages = messages
        self._tidy = tidy
        self.part = Part(machine.here(folder), {"messages": messages})

    def note(self, key: str, *values: float) -> None:
        """Keeps a figure, and shows it."""
        self.part.others[key] = figure = Figure(tuple(round(value, 3) for value in values))
        print(f"  {page.ROWS[key].what:60} {sheet.shown(figure)}", flush=True)

    def measure(self, words: list[str]) -> None:
        """All of it."""
        given, taken = self._folder / "given.jsonl", self._folder / "taken.jsonl"
        if not given.exists():
            write_lines(given, self._messages, words)
        self._run("import", str(given))
        self._tidy()
        self._run("export", str(taken))
        taken.unlink()
        command = ["threadkeep", "serve", "--database", self._url, "--no-request-log", "--port"]
        with ExitStack() as stack:
            server = stack.enter_context(Server(command, self._folder / "server.log", THREADKEEP_API_KEY=KEY))
            http = stack.enter_context(httpx2.Client(base_url=server.url, headers=HEADERS, timeout=300))
            self.note("first_paint_kb", first_paint_bytes(http) / 1024)
            with server.watched_memory():
                self._measure_index(http)
                self._measure_search(http, words)
                for thread_id, length in LONG_THREADS.items():
                    self._measure_copies(http, server.url, thread_id, length)
            self.note("server_mb", server.peak_mb)

    def _run(self, name: str, path: str) -> None:
        """A command: how fast it is, and how much memory it takes that is not a file's."""
        began, peak_mb = time.perf_counter(), 0.0
        command = [sys.executable, "-m", "threadkeep", name, "--database", self._url, path]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if found := re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()):
                peak_mb = max(peak_mb, int(found[1]) / 1024)
            time.sleep(MEMORY_EVERY_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{name} failed")
        self.note(f"{name}_per_s", self._messages / (time.perf_counter() - began))
        self.note(f"{name}_per_cpu_s", self._messages / (usage.ru_utime + usage.ru_stime))
        self.note(f"{name}_mb", peak_mb)

    def _measure_index(self, http: httpx2.Client) -> None:
        began = time.perf_counter()
        last = {"messages": [{"role": "user", "content": "lastofall"}]}
        http.post("/v1/threads", json=last).raise_for_status()
        # It is in the last message of all: documents are made in the order in which messages came.
        while not search(http, "lastofall")[1]:
            time.sleep(0.5)
        self.note("index_per_s", self._messages / (time.perf_counter() - began))
        self._tidy()

    def _measure_search(self, http: httpx2.Client, words: list[str]) -> None:
        draw = random.Random(2)
        queries = {
            "drawn": lambda: words[int(draw.paretovariate(0.7)) % VOCABULARY],
            "rare": lambda: words[draw.randrange(10_000, VOCABULARY)],
            "common": lambda: words[0],
            "two_common": lambda: " ".join(draw.sample(words[:50], 2)),
            "common_and_rare": lambda: f"{words[0]} {words[draw.randrange(10_000, VOCABULARY)]}",
            "prefix": lambda: f"{words[draw.randrange(VOCABULARY)][:4]}*",
        }
        for kind, query in queries.items():
            times = sorted(search(http, query())[0] for _ in range(QUERIES))
            self.note(f"search_{kind}_p50_ms", statistics.median(times))
            self.note(f"search_{kind}_p99_ms", times[int(QUERIES * 0.99)])

    def _measure_copies(self, http: httpx2.Client, url: str, thread_id: str, length: int) -> None:
        with watched(url) as others:
            times = []
            for _ in range(COPIES if length <= 1000 else 1):
                began = time.perf_counter()
                http.post(f"/v1/threads/{thread_id}/copy", json={}, timeout=300).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)
        self.note(f"copy_{length}_ms", statistics.median(times))
        self.note(f"copy_{length}_others_p50_ms", statistics.median(others))
        self.note(f"copy_{length}_others_max_ms", max(others))


def first_paint_bytes(http: httpx2.Client) -> int:
    """The playground's page with the styles and scripts it names, compressed."""
    files = re.findall(r'(?:href|src)="(assets/[^"]+)"', http.get("/").text)
    sizes = []
    for path in ("/", *(f"/{file}" for file in files)):
        with http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            sizes.append(sum(map(len, answer.iter_raw())))
    return sum(sizes)


def search(http: httpx2.Client, q: str) -> tuple[float, int]:
    """How long a search takes, in ms, and how much it finds."""
    began = time.perf_counter()
    answer = http.get(f"/v1/threads/search?{urlencode({'q': q})}").raise_for_status().json()
    return (time.perf_counter() - began) * 1000, len(answer["data"])


@contextmanager
def watched(url: str):
    """Asks for a thread again and again meanwhile; gives the list of how long that takes, in ms."""
    times, stop = [], threading.Event()

    def watch():
        with httpx2.Client(base_url=url, headers=HEADERS) as http:
            while not stop.is_set():
                began = time.perf_counter()
                http.get("/v1/threads/thread_long1000").raise_for_status()
                times.append((time.perf_counter() - began) * 1000)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield times
    finally:
        stop.set()
        watching.join()


def vocabulary() -> list[str]:
    """Words of letters, the same in each run."""
    draw = random.Random(0)
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9))) for _ in range(VOCABULARY)]


def main() -> None:
    """Measures what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transfers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("databases", nargs="*", metavar="DATABASE", help=" or ".join(page.PARTS))
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--write", action="store_true", help="keep the results and write the page")
    parser.add_argument("--render", action="store_true", help="write the page from what is kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.databases) - set(page.PARTS):
        parser.error(f"there is no database {', '.join(unknown)}")
    if arguments.write and arguments.messages < MESSAGES:
        parser.error(f"--write keeps only whole runs, of {MESSAGES:,} messages")
    # Otherwise PostgreSQL and the server would go on without it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="threadkeep-bench-") as name:
        for database in arguments.databases:
            machine.require_fit(Path(name))
            print(f"\n{arguments.messages:,} messages on {database}", flush=True)
            part = measure(database, Path(name), arguments.messages)
            if arguments.write:
                results.write(page.PARTS[database], part)
    if arguments.render or arguments.write:
        page.write()


def measure(database: str, folder: Path, messages: int) -> Part:
    """One database's part."""
    if database == "sqlite":
        bench = Bench(f"sqlite:///{folder}/bench.db", folder, messages, lambda: None)
        bench.measure(vocabulary())
        return bench.part
    with postgres.running(folder / "postgres") as running:
        bench = Bench(running.create("bench"), folder, messages, lambda: running.tidy("bench"))
        bench.part.setup["postgresql"] = running.version
        bench.measure(vocabulary())
    return bench.part


if __name__ == "__main__":
    main()
