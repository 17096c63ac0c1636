"""The command line, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import httpx2
import pytest
from tests import another_program

from threadkeep.settings import FILE_SUFFIX, table
from threadkeep.store import migrate

WAIT_S = 60


@pytest.fixture
def run(tmp_path):
    """`run("keys", "list")` in an empty folder; gives the finished process."""

    def command(*arguments, **environ):
        return subprocess.run(
            [sys.executable, "-m", "threadkeep", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    return command


@pytest.fixture
def serve(tmp_path):
    """Starts `threadkeep serve` on a free port; gives the process, its address and what it printed."""
    processes = []

    def start(*arguments, before=(), **environ):
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "threadkeep", "serve", "--port", "0", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        printed = []
        while "Try it:" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
            printed.append(line)
        printed.append(process.stdout.readline())
        text = "".join(printed)
        return process, re.search(r"api\s+(\S+)/v1", text)[1], text

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def stop(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_serve_says_where_everything_is_and_the_command_it_prints_works(serve, tmp_path):
    process, url, printed = serve()
    assert f"database  sqlite:///{tmp_path}/threadkeep-data/threadkeep.db  (new and empty)\n" in printed
    assert f"browser   {url}/\n" in printed
    assert f"docs      {url}/docs" in printed
    assert "key       none needed" in printed
    command = printed.splitlines()[-1].strip()
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["metadata"] == {"user": "me"}
    assert (tmp_path / "threadkeep-data" / "threadkeep.db").exists()
    stop(process)
    assert "(new and empty)" not in serve()[2]


def test_sigterm_ends_the_server_with_status_0_and_an_empty_log(serve, tmp_path):
    process, url, _ = serve()
    httpx2.post(f"{url}/v1/threads")
    returncode, _, err = stop(process)
    assert returncode == 0, err
    assert {file.name for file in (tmp_path / "threadkeep-data").iterdir()} == {"threadkeep.db", "threadkeep.db.lock"}


def test_the_log_has_a_line_for_each_request_and_no_content(serve):
    process, url, _ = serve(THREADKEEP_API_KEY="a-key-that-is-secret")
    body = {"messages": [{"role": "user", "content": "very private"}]}
    answer = httpx2.post(f"{url}/v1/threads", json=body, headers=bearer("a-key-that-is-secret"))
    httpx2.get(f"{url}/v1/threads/thread_stranger?metadata[a]=private", headers=bearer("wrong-key-that-is-long"))
    _, _, err = stop(process)
    created, refused = [line for line in err.splitlines() if " request " in line]
    assert re.search(r" request 200 POST /threads \d+\.\dms ", created)
    assert answer.headers["x-request-id"] in created
    assert re.search(r"project=proj_\w+ client=127\.0\.0\.1$", created)
    assert " request 401 GET /threads/{thread_id} " in refused
    for secret in ("private", "a-key-that-is-secret", "wrong-key", "thread_stranger"):
        assert secret not in err


def test_what_libraries_warn_of_is_logged_in_the_same_form():
    program = (
        "import logging; from threadkeep import logs; logs.configure(as_json=True); "
        "logging.getLogger('asyncpg').info('all is well'); logging.getLogger('asyncpg').error('oh'); "
        "logging.getLogger('threadkeep.server').info('hello')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [("asyncpg", "oh"), ("threadkeep.server", "hello")]


def test_log_json_writes_one_object_a_line(serve):
    process, url, _ = serve("--log-json")
    httpx2.get(f"{url}/healthz")
    _, _, err = stop(process)
    (line,) = [json.loads(line) for line in err.splitlines()]
    assert (line["status"], line["route"], line["method"]) == (200, "/healthz", "GET")
    assert set(line) >= {"time", "level", "logger", "request_id", "project", "duration_ms", "client"}
    assert line["duration_ms"] == round(line["duration_ms"], 1)


def test_no_request_log_writes_no_lines(serve):
    process, url, _ = serve("--no-request-log")
    httpx2.get(f"{url}/healthz")
    assert stop(process)[2] == ""


def test_forwarded_headers_are_believed_from_named_addresses_only(serve):
    headers = {"X-Forwarded-For": "203.0.113.7"}
    for arguments, client in (((), "127.0.0.1"), (("--forwarded-allow-ips", "127.0.0.1"), "203.0.113.7")):
        process, url, _ = serve("--log-json", "--database", f"sqlite:///{client}.db", *arguments)
        httpx2.get(f"{url}/healthz", headers=headers)
        assert json.loads(stop(process)[2])["client"] == client


def test_a_unix_socket_is_served_privately(serve, tmp_path):
    socket = tmp_path / "threadkeep.sock"
    process, _, printed = serve("--uds", str(socket))
    assert socket.stat().st_mode & 0o777 == 0o600
    assert f"--unix-socket {socket}" in printed
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), base_url="http://localhost") as http:
        assert http.post("/v1/threads").status_code == 200
    assert stop(process)[0] == 0
    assert not socket.exists()


class TestRefusingToStart:
    def test_without_a_key_it_listens_on_loopback_only(self, run):
        refused = run("serve", "--host", "0.0.0.0", "--port", "0")
        assert refused.returncode == 1
        assert "Refusing to listen on 0.0.0.0 without an API key" in refused.stderr
        assert "threadkeep keys create" in refused.stderr

    def test_with_a_key_it_listens_anywhere(self, run, serve):
        key = run("keys", "create").stdout.splitlines()[0]
        _, url, printed = serve("--host", "0.0.0.0")
        assert "key       needed" in printed
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{url}/v1/threads").status_code == 401
        assert httpx2.get(f"{url}/v1/threads", headers=bearer(key)).status_code == 200

    def test_a_port_in_use_is_said_plainly(self, run, serve):
        _, url, _ = serve()
        port = url.rpartition(":")[2]
        refused = run("serve", "--port", port, "--database", "sqlite:///other.db")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"threadkeep: Cannot listen on 127.0.0.1 port {port}: Address already in use.\n"
            "Choose another with --port, or THREADKEEP_PORT.\n"
        )

    def test_an_old_schema_asks_for_migrate_and_can_be_backed_up(self, run, tmp_path):
        assert "applied 0001" in run("migrate").stdout
        assert "nothing to do" in run("migrate").stdout
        connection = another_program.opened(tmp_path / "threadkeep-data" / "threadkeep.db")
        # As a database looks to a program that knows more migrations.
        connection.execute("delete from migrations where version > 1")
        connection.close()
        refused = run("serve", "--port", "0")
        assert refused.returncode == 1
        assert f"has schema 1; this program needs schema {migrate.LATEST}" in refused.stderr
        assert "threadkeep migrate" in refused.stderr
        assert run("backup", "before.db").stdout == "wrote before.db\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("get", "/threads"),
            ("backup", "x.db"),
            ("keys", "list"),
            ("projects", "list"),
            ("webhooks", "create", "https://app.example.com/hook"),
        ],
    )
    def test_commands_that_need_a_database_make_none(self, run, tmp_path, arguments):
        refused = run(*arguments)
        assert refused.returncode == 1
        assert "There is no database at threadkeep-data/threadkeep.db" in refused.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["sym.db", "../sym.db"])
    def test_a_symbolic_link_is_no_way_around_the_lock(self, run, serve, tmp_path, name):
        serve()
        link = tmp_path / "threadkeep-data" / name
        link.symlink_to(tmp_path / "threadkeep-data" / "threadkeep.db")
        refused = run("serve", "--port", "0", "--database", f"sqlite:///{link}")
        assert "already being served by process" in refused.stderr

    def test_a_database_that_vanishes_under_the_server_is_noticed(self, serve, tmp_path):
        _, url, _ = serve()
        (tmp_path / "threadkeep-data" / "threadkeep.db").unlink()
        answer = httpx2.post(f"{url}/v1/threads")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
        assert httpx2.get(f"{url}/readyz").status_code == 503

    @pytest.mark.parametrize("content", ["create table theirs (x)", "create table migrations (id, migration, batch)"])
    def test_the_database_of_another_program_is_not_touched(self, run, tmp_path, content):
        connection = another_program.opened(tmp_path / "theirs.db")
        connection.execute(content)
        connection.close()
        before = (tmp_path / "theirs.db").read_bytes()
        for arguments in (("serve", "--port", "0"), ("migrate",), ("get", "/threads")):
            refused = run(*arguments, "--database", "sqlite:///theirs.db")
            assert "it is not a Threadkeep database" in refused.stderr
        assert (tmp_path / "theirs.db").read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["theirs.db"]

    @pytest.mark.parametrize(
        ("arguments", "environ", "message"),
        [
            (("--host", "0.0.0.0"), {"THREADKEEP_API_KEY": " "}, "THREADKEEP_API_KEY is empty"),
            (("--port", "70000"), {}, "70000 is out of range"),
            (("--host", "nope.invalid"), {}, "There is no address 'nope.invalid'"),
            (("--uds", "x" * 200), {}, "too long"),
            (("--cors-origins", "app.example.com"), {}, "is not an origin"),
            (("--forwarded-allow-ips", "foo"), {}, "is not an address"),
            (("--thread-messages-max", "0"), {}, "out of range"),
            (("--upstream-retries", "-1"), {}, "out of range"),
            (("--keep-alive-s", "inf"), {}, "out of range"),
            (("--run-events-kept-s", "1e30"), {}, "out of range"),
            (("--project-runs-max", str(10**19)), {}, "out of range"),
            (("--database", "sqlite:///:memory:"), {}, "Cannot use the database"),
            (("--processes", "2"), {}, "An embedded database is served by one process"),
            (("--upstream-url", "http://[::1"), {}, "'http://[::1' is not a URL"),
            (("--host", b"\xff"), {}, "is not UTF-8 text"),
            ((), {"THREADKEEP_PROT": "9000"}, "Did you mean THREADKEEP_PORT?"),
        ],
    )
    def test_a_bad_value_is_refused_in_one_sentence(self, run, arguments, environ, message):
        refused = run("serve", *arguments, **environ)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
        assert len(refused.stderr.splitlines()) <= 2

    def test_a_key_of_the_database_is_no_key_for_the_settings(self, run):
        key = json.loads(run("keys", "create", "--json").stdout)
        run("keys", "revoke", key["key_id"])
        refused = run("serve", "--port", "0", THREADKEEP_API_KEY=key["key"])
        assert refused.returncode == 1
        assert f"holds the key {key['key_id']}" in refused.stderr


class TestKeysAndProjects:
    def test_a_key_made_and_revoked_beside_the_server_takes_effect_there(self, run, serve):
        first = json.loads(run("keys", "create", "--json").stdout)
        _, url, _ = serve()

        def status(key):
            return httpx2.get(f"{url}/v1/threads", headers=bearer(key)).status_code

        def wait_until(expected, key):
            # Each answer carries the state at its moment; the promise is one second.
            for _ in range(2000):
                if status(key) == expected:
                    return
            pytest.fail(f"no {expected}")

        assert status(first["key"]) == 200
        second = json.loads(run("keys", "create", "--json", "--name", "second").stdout)
        assert status(second["key"]) == 200
        assert run("keys", "revoke", first["key_id"]).stdout == f"revoked {first['key_id']}\n"
        wait_until(401, first["key"])
        assert status(second["key"]) == 200

    def test_revoking_the_last_key_does_not_open_the_server(self, run, serve):
        key = json.loads(run("keys", "create", "--json").stdout)
        run("keys", "revoke", key["key_id"])
        _, url, printed = serve()
        assert "key       needed" in printed
        assert httpx2.get(f"{url}/v1/threads").status_code == 401

    def test_projects_and_keys_are_listed_without_secrets(self, run):
        assert run("projects", "create", "support desk").returncode == 0
        made = json.loads(run("keys", "create", "--project", "support desk", "--name", "ci", "--json").stdout)
        assert [p["name"] for p in json.loads(run("projects", "list", "--json").stdout)] == ["default", "support desk"]
        listed = run("keys", "list").stdout
        assert made["key_id"] in listed
        assert "active" in listed
        assert "support desk" in listed
        assert made["key"] not in listed
        run("keys", "revoke", made["key_id"])
        assert "revoked 20" in run("keys", "list").stdout

    def test_mistakes_end_with_the_next_step(self, run):
        for arguments, hint in (
            (("keys", "create", "--project", "nowhere"), "threadkeep projects create nowhere"),
            (("keys", "revoke", "key_x"), "threadkeep keys list"),
            (("projects", "create", "default"), "There is a project 'default' already."),
        ):
            refused = run(*arguments)
            assert refused.returncode == 1
            assert hint in refused.stderr
            assert "Traceback" not in refused.stderr


def test_more_connections_are_taken_than_the_system_begins_with(serve):
    # Its own limit alone: the tests have many files open.
    _, url, _ = serve(before=("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh"))
    host, port = url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=WAIT_S))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


class TestBackups:
    def test_a_copy_taken_while_serving_can_be_put_back(self, run, serve):
        process, url, _ = serve()
        kept = httpx2.post(f"{url}/v1/threads", json={"metadata": {"n": "1"}}).json()
        assert run("backup", "copy.db").stdout == "wrote copy.db\n"
        later = httpx2.post(f"{url}/v1/threads").json()
        refused = run("restore", "copy.db")
        assert (refused.returncode, "already being served" in refused.stderr) == (1, True)
        stop(process)
        assert "what was there is now" in run("restore", "copy.db").stdout
        _, url, _ = serve()
        assert httpx2.get(f"{url}/v1/threads/{kept['id']}").json() == kept
        assert httpx2.get(f"{url}/v1/threads/{later['id']}").status_code == 404

    def test_what_was_there_is_kept_each_time(self, run, tmp_path):
        for name in ("one", "two", "three"):
            run("projects", "create", name)
            run("backup", f"{name}.db")
        run("restore", "one.db")
        run("restore", "two.db")
        assert not list((tmp_path / "threadkeep-data").glob("*-shm"))
        kept = list((tmp_path / "threadkeep-data").glob("*.before-restore-*[0-9]"))
        listed = [run("projects", "list", "--database", f"sqlite:///{file}").stdout for file in kept]
        assert sorted(text.count("\n") for text in listed) == [2, 4]

    def test_a_damaged_database_is_kept_as_it_is(self, run, tmp_path):
        run("projects", "create", "one")
        run("backup", "copy.db")
        (tmp_path / "threadkeep-data" / "threadkeep.db").write_bytes(b"rubbish" * 1000)
        restored = run("restore", "copy.db")
        assert restored.returncode == 0, restored.stderr
        (kept,) = (tmp_path / "threadkeep-data").glob("*.before-restore-*[0-9]")
        assert kept.read_bytes() == b"rubbish" * 1000
        assert "one" in run("projects", "list").stdout

    def test_another_programs_database_is_kept_too(self, run, tmp_path):
        run("migrate")
        run("backup", "copy.db")
        connection = another_program.opened(tmp_path / "theirs.db")
        connection.execute("create table theirs (x)")
        connection.close()
        assert run("restore", "copy.db", "--database", "sqlite:///theirs.db").returncode == 0
        (kept,) = tmp_path.glob("theirs.db.before-restore-*[0-9]")
        assert b"theirs (x)" in kept.read_bytes()
        # Nor is it a copy of ours.
        assert "not a usable copy" in run("restore", str(kept)).stderr

    def test_an_existing_file_is_not_overwritten(self, run, tmp_path):
        run("migrate")
        (tmp_path / "copy.db").write_text("mine")
        assert "copy.db exists already" in run("backup", "copy.db").stderr
        assert (tmp_path / "copy.db").read_text() == "mine"

    @pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000])
    def test_what_is_not_a_copy_is_not_put_back(self, run, tmp_path, content):
        run("keys", "create")
        before = (tmp_path / "threadkeep-data" / "threadkeep.db").read_bytes()
        if content is not None:
            (tmp_path / "bad.db").write_bytes(content)
        refused = run("restore", "bad.db")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert (tmp_path / "threadkeep-data" / "threadkeep.db").read_bytes() == before


def test_streams_that_are_closed_are_no_trouble(run, tmp_path):
    run("migrate")
    command = f'exec {sys.executable} -m threadkeep "$@" <&- >&- 2>&-'
    for arguments, status in ((("export", "all.jsonl"), 0), (("projects", "list"), 0), (("import", "-"), 1)):
        done = subprocess.run(["sh", "-c", command, "sh", *arguments], cwd=tmp_path, timeout=WAIT_S, check=False)
        assert done.returncode == status
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2


class TestGet:
    def test_get_answers_without_a_server_and_beside_one(self, run, serve):
        run("migrate")
        assert json.loads(run("get", "/v1/threads").stdout)["data"] == []
        assert json.loads(run("get", "threads").stdout)["data"] == []
        _, url, _ = serve()
        thread = httpx2.post(f"{url}/v1/threads", json={"metadata": {"a": "é"}}).json()
        assert json.loads(run("get", f"/v1/threads/{thread['id']}").stdout) == thread
        assert json.loads(run("get", "/threads?metadata[a]=%C3%A9").stdout)["data"] == [thread]

    def test_get_prints_errors_in_the_envelope(self, run):
        run("migrate")
        missing = run("get", "/v1/threads/thread_x")
        assert missing.returncode == 1
        assert json.loads(missing.stdout)["error"]["message"] == "No thread found with id 'thread_x'."
        assert json.loads(run("get", "/nowhere").stdout)["error"]["message"] == "Invalid URL (GET /nowhere)"


class TestSettings:
    def test_each_value_shows_where_it_came_from(self, run, tmp_path):
        (tmp_path / "keep.toml").write_text('port = 1\nhost = "127.0.0.2"\nbody_bytes_max = 9\n')
        environ = {"THREADKEEP_HOST": "127.0.0.3", "THREADKEEP_API_KEY": "hidden"}
        shown = json.loads(run("settings", "--json", "--config", "keep.toml", **environ).stdout)
        assert shown["port"] == {"value": 1, "source": "keep.toml"}
        assert shown["host"] == {"value": "127.0.0.3", "source": "THREADKEEP_HOST"}
        assert shown["api_key"] == {"value": "***", "source": "THREADKEEP_API_KEY"}
        assert shown["strict"] == {"value": False, "source": "default"}
        assert "hidden" not in run("settings", **environ).stdout

    @pytest.mark.parametrize("secret", [setting for setting in table() if setting.secret], ids=lambda one: one.name)
    def test_a_secret_can_come_from_a_file(self, run, tmp_path, secret):
        (tmp_path / "key").write_text("from-a-file\n")
        environ = {secret.variable + FILE_SUFFIX: "key", "THREADKEEP_UPSTREAM_URL": "http://127.0.0.1:1/v1"}
        shown = json.loads(run("settings", "--json", **environ).stdout)
        assert shown[secret.name] == {"value": "***", "source": secret.variable + FILE_SUFFIX}

    @pytest.mark.parametrize(
        ("toml", "message"),
        [
            ("prot = 1", "Did you mean 'port'?"),
            ("port = 'x'", "port must be a whole number"),
            ("port = ", "is not valid TOML"),
            (f"port = {'9' * 5000}", "is not valid TOML"),
            (f"run_lease_s = {'9' * 400}", "run_lease_s must be a number"),
        ],
    )
    def test_a_mistake_in_the_file_is_said_plainly(self, run, tmp_path, toml, message):
        (tmp_path / "keep.toml").write_text(toml)
        refused = run("settings", "--config", "keep.toml")
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_a_mistake_in_a_variable_is_said_plainly(self, run):
        assert "THREADKEEP_PORT: 'x' is not a whole number." in run("settings", THREADKEEP_PORT="x").stderr
        assert "Cannot read nowhere.toml" in run("settings", "--config", "nowhere.toml").stderr
