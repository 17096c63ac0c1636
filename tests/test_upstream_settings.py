"""Where model servers come from: flags, variables, OpenAI's variables, the file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.settings_sources import load
from threadkeep.upstream_settings import HELP, UpstreamSettings

URL = "http://models.example.com/v1"
FILE = """
[[upstreams]]
name = "home"
url = "http://127.0.0.1:11434/v1"
models = ["llama*", "qwen3"]
aliases = { "gpt-4o" = "llama3.1" }
default_model = "qwen3"
context_tokens = { "llama*" = 131072, "*" = 8192 }
lacks = ["json_schema", "usage"]

[[upstreams]]
name = "openai"
url = "https://api.openai.com/v1"
key_env = "MY_KEY"
models = ["gpt-*"]
"""


def servers(environ=None, flags=None, config=""):
    return load(flags or {}, environ or {}, config)[0].model_servers


def refusal(environ=None, flags=None, config=""):
    with pytest.raises(CommandError) as caught:
        load(flags or {}, environ or {}, config)
    return f"{caught.value.message} {caught.value.hint}"


@pytest.fixture
def file(tmp_path):
    """Writes a settings file and gives its path."""

    def write(text):
        path = tmp_path / "threadkeep.toml"
        path.write_text(text)
        return str(path)

    return write


def test_there_is_no_model_server_at_first():
    assert servers() == ()


def test_one_model_server_needs_no_file():
    environ = {"THREADKEEP_UPSTREAM_URL": URL, "THREADKEEP_UPSTREAM_KEY": "k", "THREADKEEP_UPSTREAM_MODEL": "llama3.1"}
    (server,) = servers(environ)
    assert (server.name, server.url, server.key, server.default_model) == ("default", URL, "k", "llama3.1")
    assert servers(environ, {"upstream_context_tokens": "4096"})[0].context_tokens == 4096
    assert servers(environ, {"upstream_url": "http://other/v1"})[0].url == "http://other/v1"


def test_the_variables_of_openai_do_where_no_setting_does():
    settings, sources = load({}, {"OPENAI_BASE_URL": URL, "OPENAI_API_KEY": "sk-1"})
    (server,) = settings.model_servers
    assert (server.url, server.key) == (URL, "sk-1")
    assert (sources["upstream_url"], sources["upstream_key"]) == ("OPENAI_BASE_URL", "OPENAI_API_KEY")


def test_a_setting_goes_before_the_variables_of_openai():
    environ = {"OPENAI_BASE_URL": "http://other/v1", "THREADKEEP_UPSTREAM_URL": URL, "THREADKEEP_UPSTREAM_KEY": "k"}
    (server,) = servers(environ | {"OPENAI_API_KEY": "sk-1"})
    assert (server.url, server.key) == (URL, "k")


def test_a_key_of_openai_goes_to_no_server_it_was_not_meant_for():
    assert servers({"THREADKEEP_UPSTREAM_URL": URL, "OPENAI_API_KEY": "sk-1"})[0].key == ""
    openai = {"THREADKEEP_UPSTREAM_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "sk-1"}
    assert servers(openai)[0].key == "sk-1"


def test_a_key_of_openai_alone_names_no_server():
    assert servers({"OPENAI_API_KEY": "sk-1"}) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_server_is_not_its_own_model_server(host):
    here = f"http://{host}:8000/v1"
    assert servers({"OPENAI_BASE_URL": here}) == ()
    assert "is this server itself" in refusal({"THREADKEEP_UPSTREAM_URL": here})
    assert servers({"THREADKEEP_UPSTREAM_URL": here, "THREADKEEP_PORT": "9000"})


@pytest.mark.parametrize("name", ["KEY", "MODEL"])
def test_a_key_or_model_without_a_server_is_refused(name):
    assert "--upstream-url" in refusal({f"THREADKEEP_UPSTREAM_{name}": "x"})


WRONG_URLS = [
    "models.example.com",
    "ftp://models/v1",
    "http://",
    "http://h:99999/v1",
    "http://u:p@h/v1",
    "http://h/?a=b",
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_url_that_cannot_be_asked_is_refused(url):
    assert "THREADKEEP_UPSTREAM_URL" in refusal({"THREADKEEP_UPSTREAM_URL": url})


def test_a_key_that_no_header_can_hold_is_refused():
    text = refusal({"THREADKEEP_UPSTREAM_URL": URL, "THREADKEEP_UPSTREAM_KEY": "se\ncret"})
    assert "the key has characters" in text
    assert "secret" not in text.replace("\n", "")


def test_the_file_has_any_number(file):
    home, openai = servers({"MY_KEY": "sk-2"}, config=file(FILE))
    assert home.aliases == {"gpt-4o": "llama3.1"}
    assert home.context_tokens == {"llama*": 131072, "*": 8192}
    assert home.lacks == {"json_schema", "usage"}
    assert (openai.key, openai.models) == ("sk-2", ("gpt-*",))


def test_those_of_the_file_are_asked_before_the_simple_one(file):
    environ = {"MY_KEY": "sk-2", "THREADKEEP_UPSTREAM_URL": URL}
    assert [server.name for server in servers(environ, config=file(FILE))] == ["home", "openai", "default"]


def test_the_variables_of_openai_add_nothing_to_the_file(file):
    environ = {"MY_KEY": "sk-2", "OPENAI_BASE_URL": URL}
    assert [server.name for server in servers(environ, config=file(FILE))] == ["home", "openai"]


def test_a_key_may_be_in_a_file_of_its_own(file, tmp_path):
    (tmp_path / "key").write_text("sk-3\n")
    row = f'[[upstreams]]\nname = "a"\nurl = "{URL}"\nkey_file = "{tmp_path}/key"\n'
    assert servers(config=file(row))[0].key == "sk-3"


WRONG_ROWS = {
    'urls = "x"': "there is no 'urls' in an upstream. Did you mean 'url'?",
    "zzz = 1": "There are: name, url, key,",
    'lacks = ["vision"]': "Invalid enum value 'vision' - at `$.lacks[0]`",
    'models = "llama"': "Expected `array`, got `str` - at `$.models`",
    "context_tokens = 0": "Expected `int` >= 1 - at `$.context_tokens`",
    'key = "a"\nkey_env = "B"': "key and key_env are both given",
    'key_env = "NOT_SET"': "the variable NOT_SET is not set",
    'key_file = "missing"': "cannot read missing: No such file",
}


@pytest.mark.parametrize("line", WRONG_ROWS)
def test_a_wrong_row_is_refused_with_its_place(file, line):
    path = file(f'[[upstreams]]\nname = "a"\nurl = "{URL}"\n{line}\n')
    text = refusal(config=path)
    assert text.startswith(f"{path}: upstream 'a': ")
    assert WRONG_ROWS[line] in text


def test_a_row_needs_a_name_and_a_url(file):
    assert "missing required field `name`" in refusal(config=file(f'[[upstreams]]\nurl = "{URL}"\n'))
    assert "missing required field `url`" in refusal(config=file('[[upstreams]]\nname = "a"\n'))


def test_names_are_different(file):
    row = f'[[upstreams]]\nname = "a"\nurl = "{URL}"\n'
    assert "two upstreams named 'a'" in refusal(config=file(row * 2))


def test_what_is_no_table_is_refused(file):
    assert "[[upstreams]]" in refusal(config=file('upstreams = "home"\n'))


def test_a_variable_for_the_table_is_refused():
    assert "THREADKEEP_UPSTREAM_URL" in refusal({"THREADKEEP_UPSTREAMS": "home"})


def test_settings_shows_the_servers_and_no_key(file):
    command = [sys.executable, "-m", "threadkeep", "settings", "--config", file(FILE)]
    environ = {"MY_KEY": "sk-secret-1", "THREADKEEP_UPSTREAM_URL": URL, "THREADKEEP_UPSTREAM_KEY": "sk-secret-2"}
    plain, as_json = (
        subprocess.run([*command, *more], env=environ, capture_output=True, text=True, check=True).stdout
        for more in ([], ["--json"])
    )
    assert "secret" not in plain + as_json
    assert "home (http://127.0.0.1:11434/v1), openai (https://api.openai.com/v1)" in plain
    shown = json.loads(as_json)
    assert shown["upstream_key"] == {"value": "***", "source": "THREADKEEP_UPSTREAM_KEY"}
    home, openai = shown["upstreams"]["value"]
    assert home["lacks"] == ["json_schema", "usage"]
    assert openai["key"] == "***"


def test_settings_print_no_key():
    settings = Settings(upstream_url=URL, upstream_key="sk-secret")
    assert "secret" not in repr(settings.model_servers)


def test_every_key_of_the_table_is_explained():
    assert tuple(HELP) == UpstreamSettings.__struct_fields__
