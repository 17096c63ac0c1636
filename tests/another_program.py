"""Another program at a server's SQLite file."""

from __future__ import annotations

import apsw

# A server also writes when nobody asks it to: it begins, keeps its index, removes what has expired.
PATIENCE_MS = 60_000


def opened(path):
    """The file at `path`, as another program opens it: it waits for its turn."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(PATIENCE_MS)
    return connection
