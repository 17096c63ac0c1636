"""`threadkeep serve`: binds, says where everything is, serves until SIGTERM, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import gc
import os
import resource
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from threadkeep import logs
from threadkeep.app import Threadkeep
from threadkeep.errors import CommandError
from threadkeep.http.connection import Connection, Hub
from threadkeep.processes import Processes
from threadkeep.settings import Settings
from threadkeep.store import is_missing, is_shared, place

BACKLOG = 2048
# New objects between two looks for garbage; Python's own figure is 700.
GARBAGE_OBJECTS = 20_000
# Open files of a process beside its clients' connections: the database, the log, connections to PostgreSQL.
OTHER_FILES = 256
# How long a scrape may take to end when the server stops.
METRICS_STOP_S = 1.0
# What a socket option holds.
INT_MAX = 2**31 - 1


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves until told to stop. Raises `CommandError`."""
    logs.configure(as_json=settings.log_json)
    if settings.processes > 1 and not is_shared(settings):
        raise CommandError(
            "An embedded database is served by one process.", "Use PostgreSQL for several, or leave out --processes."
        )
    _allow_open_files(settings.connections_max + OTHER_FILES)
    listener = bind(settings)

    def work(announce: Callable[[str], None], number: int = 0) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(settings, listener, announce, number))

    try:
        if settings.processes > 1:
            # What is wrong is found out here and told once; and the children find the schema made.
            asyncio.run(_try_out(settings))
            Processes(settings.processes, lambda number: work(announce if number == 0 else _say_nothing, number)).run()
        else:
            work(announce)
    finally:
        listener.close()
        if settings.uds:
            Path(settings.uds).unlink(missing_ok=True)


def _allow_open_files(wanted: int) -> None:
    """Many systems begin with 1024 and permit more; a connection over the limit would be dropped without an answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _say_nothing(_: str) -> None:
    """What the second process and those after it announce."""


async def serve(app: Threadkeep, listener: socket.socket, stop: asyncio.Event) -> None:
    """Takes connections until `stop`, then lets the requests under way finish."""
    hub = Hub(app.settings, app.api.answer)
    loop = asyncio.get_running_loop()
    accepting = await loop.create_server(lambda: Connection(hub), sock=listener, backlog=BACKLOG)
    await stop.wait()
    accepting.close()
    listener.close()
    app.events.release()
    await hub.drain(app.settings.shutdown_timeout_s)


async def _serve(settings: Settings, listener: socket.socket, announce: Callable[[str], None], number: int) -> None:
    is_new = is_missing(settings)
    app = Threadkeep(settings)
    async with app.running(), _metrics_served(app, number):
        _require_key(app)
        stop = asyncio.Event()
        _stop_on_signals(stop)
        _collect_garbage_less_often()
        announce(banner(settings, listener, is_open=app.authenticator.is_open, is_new=is_new))
        await serve(app, listener, stop)


@asynccontextmanager
async def _metrics_served(app: Threadkeep, number: int = 0) -> AsyncIterator[None]:
    """Answers `/metrics` at an address of its own, if that is wanted."""
    settings = app.settings
    if not settings.metrics_port:
        yield
        return
    listener = bind(dataclasses.replace(settings, uds="", port=settings.metrics_port + number))
    hub = Hub(settings, app.metrics_page.answer_alone)
    accepting = await asyncio.get_running_loop().create_server(lambda: Connection(hub), sock=listener, backlog=BACKLOG)
    try:
        yield
    finally:
        accepting.close()
        await hub.drain(METRICS_STOP_S)


def run_worker(settings: Settings, announce: Callable[[str], None]) -> None:
    """Executes the runs that other processes accept, until told to stop. Raises `CommandError`."""
    logs.configure(as_json=settings.log_json)
    if not is_shared(settings):
        raise CommandError(
            "An embedded database is served by one process, which executes its runs itself.",
            "Use PostgreSQL for workers of their own, or run `threadkeep serve` alone.",
        )

    async def work() -> None:
        app = Threadkeep(settings)
        async with app.running(), _metrics_served(app):
            stop = asyncio.Event()
            _stop_on_signals(stop)
            _collect_garbage_less_often()
            announce(
                f"  database  {settings.database_shown}\n"
                f"  models    {_models(settings)}\n"
                f"  runs      {settings.runs_max} at a time"
            )
            await stop.wait()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work())


async def _try_out(settings: Settings) -> None:
    app = Threadkeep(settings)
    async with app.running():
        _require_key(app)


def _require_key(app: Threadkeep) -> None:
    settings = app.settings
    if not settings.is_loopback and not app.authenticator.has_keys:
        raise CommandError(
            f"Refusing to listen on {settings.host} without an API key: anyone could read and delete every thread.",
            f"Make a key first: threadkeep keys create{_database_flag(settings)}",
        )


def _stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl+C let requests finish; a second Ctrl+C ends the process at once, which loses nothing either."""
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # One of several processes leaves Ctrl+C to their parent.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, interrupted)


def _collect_garbage_less_often() -> None:
    """A request leaves no cycles behind, but the objects of many at once would set the collector off all the time."""
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 10, 10)


def _database_flag(settings: Settings) -> str:
    return "" if settings.database == Settings().database else f" --database {settings.database_shown}"


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises `CommandError` when the address is taken or not ours."""
    if settings.uds:
        return _bind_unix(Path(settings.uds))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _notice_vanished_clients(listener, settings.body_timeout_s)
        listener.bind(address)
        listener.listen(BACKLOG)
    except socket.gaierror:
        raise CommandError(
            f"There is no address {settings.host!r} to listen on.", "Choose another with --host."
        ) from None
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise CommandError(
            f"Cannot listen on {settings.host} port {settings.port}: {os.strerror(error.errno or 0)}.",
            "Choose another with --port, or THREADKEEP_PORT." if in_use else "Choose another with --host.",
        ) from None
    return listener


def _notice_vanished_clients(listener: socket.socket, after_s: float) -> None:
    """A client whose network is gone says nothing: without this, Linux sends to it for a quarter of an hour."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections take it over from what they were accepted by.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, min(int(after_s * 1000), INT_MAX))


def _bind_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_dead_socket(path)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise CommandError(f"Cannot listen on {path}: {why}.", "Choose another with --uds.") from None
    return listener


def _remove_dead_socket(path: Path) -> None:
    """A killed server leaves its socket behind; one that still answers is left alone, and binding then fails."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def banner(settings: Settings, listener: socket.socket, *, is_open: bool, is_new: bool = False) -> str:
    """What `serve` prints: where data, API, models and docs are, who may come in, and a command to try."""
    if settings.uds:
        address, curl = "http://localhost", f"curl --unix-socket {settings.uds}"
    else:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        curl = "curl"
    headers = "" if is_open else ' -H "Authorization: Bearer $THREADKEEP_KEY"'
    if settings.strict:
        headers += ' -H "OpenAI-Beta: assistants=v2"'
    keys = "none needed: only programs on this machine can connect" if is_open else "needed"
    return "\n".join(
        [
            f"  database  {place(settings)}{'  (new and empty)' if is_new else ''}",
            f"  api       {address}/v1" + (f"  (socket {settings.uds})" if settings.uds else ""),
            f"  models    {_models(settings)}",
            *([] if settings.worker else ["  runs      not executed here, but by `threadkeep worker`"]),
            f"  browser   {address}/",
            f"  docs      {address}/docs",
            f"  key       {keys}",
            *(["  mode      strict: refuses what the original refused"] if settings.strict else []),
            "",
            "Try it:",
            f'  {curl} {address}/v1/threads{headers} -d \'{{"metadata": {{"user": "me"}}}}\'',
        ]
    )


def _models(settings: Settings) -> str:
    """Who answers in runs."""
    servers = settings.model_servers
    if not servers:
        return "echo, which repeats what it is told; connect others with --upstream-url"
    return ", ".join(server.url for server in servers)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop that serves: uvloop's."""
    import uvloop  # noqa: PLC0415 - commands that do not serve do not pay for it

    return uvloop.new_event_loop
