"""Measures what threads as data cost: import, index, search, export, copy.

python -m bench.transfers sqlite postgres     what `make bench-data` does: a million messages in each
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2

from bench import postgres
from bench.operations import KEY
from bench.processes import MEMORY_EVERY_S, Server

MESSAGES = 1_000_000
MESSAGES_A_THREAD = 10
LONG_THREADS = {"thread_long1000": 1000, "thread_long50000": 50_000}
VOCABULARY = 50_000
WORDS_A_MESSAGE = 30
QUERIES = 200
COPIES = 20
HEADERS = {"Authorization": f"Bearer {KEY}"}

# Goals.
RATE = 20_000
MEMORY_MB = 150
SEARCH_MS = 20


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


def run(name: str, messages: int, database: str, *arguments: str) -> None:
    """Runs a command, and tells how fast it was and how much memory it took that is not a file's."""
    began, peak_mb = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "threadkeep", name, "--database", database, *arguments]
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
    tell(f"{name}, messages a second", messages / (time.perf_counter() - began), "/s", f">= {RATE:,}")
    tell(f"{name}, messages a second of its CPU time", messages / (usage.ru_utime + usage.ru_stime), "/s")
    tell(f"{name}, most memory", peak_mb, "MB", f"<= {MEMORY_MB}")


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


def tell(what: str, value: float, unit: str, goal: str = "") -> None:
    print(f"  {what:46} {value:12,.1f} {unit}{f'   goal {goal}' if goal else ''}", flush=True)


def measure_server(http: httpx2.Client, url: str, words: list[str], messages: int, tidy) -> None:
    began = time.perf_counter()
    # It is in the last message of all: documents are made in the order in which messages came.
    while not search(http, "lastofall")[1]:
        time.sleep(0.5)
    tell("index, messages a second beside nothing else", messages / (time.perf_counter() - began), "/s")
    tidy()
    draw = random.Random(2)
    kinds = {
        "of one word of 50,000, half of them common": lambda: words[int(draw.paretovariate(0.7)) % VOCABULARY],
        "of a rare word": lambda: words[draw.randrange(10_000, VOCABULARY)],
        "of the most common word": lambda: words[0],
        "of two common words": lambda: " ".join(draw.sample(words[:50], 2)),
        "of a common and a rare word": lambda: f"{words[0]} {words[draw.randrange(10_000, VOCABULARY)]}",
        "of what words of four letters begin with": lambda: f"{words[draw.randrange(VOCABULARY)][:4]}*",
    }
    for kind, query in kinds.items():
        times = sorted(search(http, query())[0] for _ in range(QUERIES))
        tell(f"search {kind}, p50", statistics.median(times), "ms", f"<= {SEARCH_MS}")
        tell(f"search {kind}, p99", times[int(QUERIES * 0.99)], "ms")
    for thread_id, length in LONG_THREADS.items():
        with watched(url) as others:
            times = []
            for _ in range(COPIES if length <= 1000 else 1):
                began = time.perf_counter()
                http.post(f"/v1/threads/{thread_id}/copy", json={}, timeout=300).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)
        tell(f"copy of {length:,} messages, p50", statistics.median(times), "ms")
        tell("  another's GET meanwhile, p50", statistics.median(others), "ms")
        tell("  another's GET meanwhile, longest", max(others), "ms")


def measure(url: str, folder: Path, messages: int, tidy=lambda: None) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9))) for _ in range(VOCABULARY)]
    given, taken = folder / "given.jsonl", folder / "taken.jsonl"
    if not given.exists():
        write_lines(given, messages, words)
    run("import", messages, url, str(given))
    tidy()
    run("export", messages, url, str(taken))
    taken.unlink()
    command = ["threadkeep", "serve", "--database", url, "--no-request-log", "--port"]
    with ExitStack() as stack:
        server = stack.enter_context(Server(command, folder / "server.log", THREADKEEP_API_KEY=KEY))
        http = stack.enter_context(httpx2.Client(base_url=server.url, headers=HEADERS, timeout=300))
        last = {"messages": [{"role": "user", "content": "lastofall"}]}
        http.post("/v1/threads", json=last).raise_for_status()
        with server.watched_memory():
            measure_server(http, server.url, words, messages, tidy)
        tell("server, most memory", server.peak_mb, "MB")


def main() -> None:
    """Measures what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfers")
    parser.add_argument("databases", nargs="+", choices=("sqlite", "postgres"))
    parser.add_argument("--messages", type=int, default=MESSAGES)
    arguments = parser.parse_args()
    # Otherwise PostgreSQL and the server would go on without it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="threadkeep-bench-", dir="/tmp") as name:
        folder = Path(name)
        for database in arguments.databases:
            print(f"\n{arguments.messages:,} messages on {database}", flush=True)
            if database == "sqlite":
                measure(f"sqlite:///{folder}/bench.db", folder, arguments.messages)
            else:
                with postgres.running(folder / "postgres") as running:
                    url = running.create("bench")
                    measure(url, folder, arguments.messages, lambda: running.tidy("bench"))


if __name__ == "__main__":
    main()
