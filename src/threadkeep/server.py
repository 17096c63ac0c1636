"""`threadkeep serve`: binds, says where everything is, serves until SIGTERM, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from threadkeep import logs
from threadkeep.app import Threadkeep
from threadkeep.errors import StartupError
from threadkeep.http.protocol import protocol_with
from threadkeep.processes import Processes
from threadkeep.settings import Settings
from threadkeep.store import is_shared

BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server, which here ends with exit status 0 after SIGTERM or SIGINT, and says when it listens."""

    def __init__(self, config: uvicorn.Config, when_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_listening = when_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self._when_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops on a signal without raising it again afterwards."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: whoever runs us stops us
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves until told to stop. Raises `StartupError`."""
    logs.configure(as_json=settings.log_json)
    if settings.processes > 1 and not is_shared(settings):
        raise StartupError(
            "An embedded database is served by one process.", "Use PostgreSQL for several, or leave out --processes."
        )
    listener = bind(settings)

    def serve(announce: Callable[[str], None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(settings, listener, announce))

    try:
        if settings.processes > 1:
            Processes(settings.processes, lambda number: serve(announce if number == 0 else _say_nothing)).run()
        else:
            serve(announce)
    finally:
        listener.close()
        if settings.uds:
            Path(settings.uds).unlink(missing_ok=True)


def _say_nothing(_: str) -> None:
    """What the second process and those after it announce."""


def create_server(app: Threadkeep, when_listening: Callable[[], None]) -> Server:
    """The HTTP server for `app`, with this project's limits and none of uvicorn's own logs."""
    settings = app.settings
    return Server(
        uvicorn.Config(
            app,
            http=protocol_with(settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=list(settings.forwarded_allow_ips),
            # Fractions of a second work too.
            timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
            timeout_graceful_shutdown=settings.shutdown_timeout_s,  # type: ignore[arg-type]
            backlog=BACKLOG,
        ),
        when_listening,
    )


async def _serve(settings: Settings, listener: socket.socket, announce: Callable[[str], None]) -> None:
    app = Threadkeep(settings)
    async with app.running():
        if not settings.is_loopback and not app.authenticator.has_keys:
            raise StartupError(
                f"Refusing to listen on {settings.host} without an API key: anyone could read and delete every thread.",
                f"Make a key first: threadkeep keys create{_database_flag(settings)}",
            )
        is_open = app.authenticator.is_open
        server = create_server(app, lambda: announce(banner(settings, listener, is_open=is_open)))
        await server.serve(sockets=[listener])


def _database_flag(settings: Settings) -> str:
    return "" if settings.database == Settings().database else f" --database {settings.database}"


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises `StartupError` when the address is taken or not ours."""
    if settings.uds:
        return _bind_unix(Path(settings.uds))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except socket.gaierror:
        raise StartupError(
            f"There is no address {settings.host!r} to listen on.", "Choose another with --host."
        ) from None
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise StartupError(
            f"Cannot listen on {settings.host} port {settings.port}: {os.strerror(error.errno or 0)}.",
            "Choose another with --port, or THREADKEEP_PORT." if in_use else "Choose another with --host.",
        ) from None
    return listener


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
        raise StartupError(f"Cannot listen on {path}: {why}.", "Choose another with --uds.") from None
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


def banner(settings: Settings, listener: socket.socket, *, is_open: bool) -> str:
    """What `serve` prints: where the data, the API and the docs are, who may come in, and a command to try."""
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
            f"  database  {settings.database_shown}",
            f"  api       {address}/v1" + (f"  (socket {settings.uds})" if settings.uds else ""),
            f"  docs      {address}/docs",
            f"  key       {keys}",
            *(["  mode      strict: refuses what the original refused"] if settings.strict else []),
            "",
            "Try it:",
            f'  {curl} {address}/v1/threads{headers} -d \'{{"metadata": {{"user": "me"}}}}\'',
        ]
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop that serves: uvloop's."""
    import uvloop  # noqa: PLC0415 - commands that do not serve do not pay for it

    return uvloop.new_event_loop
