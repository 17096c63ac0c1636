"""Plain HTTP with JSON, so that a model sees what is on the wire and nothing else."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from contextlib import closing
from urllib.parse import urlencode, urlsplit

import pytest

from threadkeep import projects


class Api:
    """A project of its own on a server; each OS thread that calls gets its own connection."""

    def __init__(self, server):
        project = uuid.uuid4().hex
        self.headers = {"Authorization": f"Bearer {server.new_key(project)}"}
        self.project_id = server.run(projects.find(server.app.store, project)).project_id
        self._address = urlsplit(server.url).netloc
        self._own = threading.local()
        self._connections = []

    def __call__(self, method, path, body=None, **query):
        """Status and JSON of the answer. A query parameter that is None is left out."""
        given = {name: value for name, value in query.items() if value is not None}
        target = f"/v1{path}" + (f"?{urlencode(given)}" if given else "")
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._address, timeout=60)
            self._connections.append(self._own.connection)
        self._own.connection.request(method, target, None if body is None else json.dumps(body), self.headers)
        answer = self._own.connection.getresponse()
        return answer.status, json.load(answer)

    def ok(self, method, path, body=None, **query):
        """The JSON of an answer that must be a good one."""
        status, value = self(method, path, body, **query)
        assert status == 200, value
        return value

    def close(self):
        for connection in self._connections:
            connection.close()


@pytest.fixture
def new_api(server):
    """Makes an `Api` in a new project."""
    return lambda: Api(server)


@pytest.fixture
def api(new_api):
    with closing(new_api()) as api:
        yield api
