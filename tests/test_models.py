"""Models, through the official SDK; and through the operations, beside model servers that are made up."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import httpx2
import openai
import pytest

from threadkeep import models
from threadkeep.errors import NotFoundError

NAMES = ["llama3.1:8b", "meta-llama/Llama-3.1-8B:free", "gpt-4o"]


class Upstreams:
    async def models(self):
        return [SimpleNamespace(id=name, created=n, owned_by="someone") for n, name in enumerate(NAMES)]


@pytest.fixture
def ctx(server):
    return dataclasses.replace(server.app.context_of("any"), upstreams=Upstreams())


def test_models_are_those_of_the_model_servers(server, ctx):
    listed = server.run(models.list_(ctx))
    assert listed.object == "list"
    assert [model.id for model in listed.data] == NAMES
    for n, name in enumerate(NAMES):
        found = server.run(models.retrieve(ctx, name))
        assert (found.id, found.object, found.created, found.owned_by) == (name, "model", n, "someone")


def test_a_model_that_no_server_has_is_not_found(server, ctx):
    with pytest.raises(NotFoundError, match="The model 'gpt-5' does not exist"):
        server.run(models.retrieve(ctx, "gpt-5"))


@pytest.mark.parametrize("name", ["x", *NAMES, "a/b/c", "ä ?#%"])
def test_a_models_name_may_have_slashes_and_colons(client, name):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(f"missing/{name}")
    message = f"The model 'missing/{name}' does not exist"
    assert caught.value.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize("path", ["/v1/models/missing/a:b", "/models/missing%2Fa%3Ab"])
def test_a_models_name_may_be_encoded_or_not(server, path):
    answer = httpx2.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {server.new_key()}"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "The model 'missing/a:b' does not exist")


def test_the_list_has_no_cursors(client):
    answer = client.get("/models", cast_to=object)
    assert list(answer) == ["object", "data"]
    assert answer["object"] == "list"


def test_strict_asks_for_no_beta_header(strict_server):
    headers = {"Authorization": f"Bearer {strict_server.new_key()}"}
    assert httpx2.get(f"{strict_server.base_url}/models", headers=headers).status_code == 200
