"""`/metrics`: what is counted, and who may read it."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.ports import free_port

from threadkeep import server as serving
from threadkeep import testing
from threadkeep.app import Threadkeep

KEY = "a-key-for-metrics"


@pytest.fixture(scope="module")
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def counted(servers, database, model):
    """A server whose counts nobody else adds to."""
    return servers(database, upstream_url=model.base_url, keep_alive_s=73.0)


def samples(server, **headers):
    """Each sample of the page by its name and labels."""
    page = httpx2.get(f"{server.url}/metrics", headers=headers)
    assert page.status_code == 200, page.text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def run_once(client):
    assistant = client.beta.assistants.create(model="scripted", instructions="Be brief.")
    thread = client.beta.threads.create()
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)


def test_requests_runs_and_tokens_are_counted(counted, new_client, model):
    client = new_client(counted)
    before = samples(counted)
    model.reply(testing.text("One ", "two."))
    run = run_once(client)
    after = samples(counted)

    def grown(*key):
        return after[key] - before.get(key, 0)

    assert grown("threadkeep_requests_total", "/threads", "200", "POST") == 1
    assert grown("threadkeep_request_duration_seconds_count", "/threads", "POST") == 1
    assert grown("threadkeep_run_changes_total", "completed") == 1
    assert grown("threadkeep_run_changes_total", "in_progress") == 1
    assert grown("threadkeep_first_token_seconds_count", "default") == 1
    assert grown("threadkeep_tokens_total", "default", "in") == run.usage.prompt_tokens
    assert grown("threadkeep_tokens_total", "default", "out") == run.usage.completion_tokens
    assert grown("threadkeep_log_lag_seconds_count") >= 1
    assert after["threadkeep_runs", "in_progress"] == after["threadkeep_running_runs",] == 0
    assert after["threadkeep_database_up",] == 1


def test_a_stream_is_counted_apart_from_answers_in_one_piece(counted, new_client, model):
    client = new_client(counted)
    assistant = client.beta.assistants.create(model="scripted", instructions="Be brief.")
    thread = client.beta.threads.create()
    model.reply(testing.text("One"))
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        stream.until_done()
    found = samples(counted)
    assert found["threadkeep_stream_duration_seconds_count", "/threads/{thread_id}/runs", "POST"] == 1


def test_a_fault_of_a_model_server_is_counted_by_its_code(counted, new_client, model):
    model.reply(testing.error(400, "no"))
    assert run_once(new_client(counted)).status == "failed"
    assert samples(counted)["threadkeep_upstream_errors_total", "server_error"] >= 1


def test_no_label_holds_an_id_or_anything_a_client_made_up(counted, new_client):
    client = new_client(counted)
    thread = client.beta.threads.create(metadata={"name": "made-up"})
    client.beta.threads.retrieve(thread.id)
    httpx2.get(f"{counted.url}/v1/made-up/{thread.id}")
    page = httpx2.get(f"{counted.url}/metrics").text
    assert thread.id not in page
    assert "made-up" not in page
    assert 'route="/threads/{thread_id}"' in page


def test_commit_groups_are_told_where_there_are_any(counted, new_client, database):
    new_client(counted).beta.threads.create()
    assert (("threadkeep_commit_group_units_count",) in samples(counted)) == (database == "sqlite")


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "203.0.113.9"}, {"Host": "threads.example.com"}, {"Origin": "https://evil.example"}]
)
def test_without_a_key_only_programs_on_this_machine_may_read(servers, headers):
    answer = httpx2.get(f"{servers('sqlite').url}/metrics", headers=headers)
    assert answer.status_code == 403
    assert "THREADKEEP_METRICS_KEY" in answer.json()["error"]["message"]


def test_other_machines_may_not_read_without_a_key():
    with testing.serve(host="0.0.0.0", api_key="of-the-api") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        for headers in ({}, {"Authorization": "Bearer of-the-api"}):
            assert httpx2.get(f"{url}/metrics", headers=headers).status_code == 403


def test_who_has_the_key_may_read_from_anywhere():
    with testing.serve(host="0.0.0.0", api_key="of-the-api", metrics_key=KEY) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"Authorization": f"Bearer {KEY}", "X-Forwarded-For": "203.0.113.9"}
        assert httpx2.get(f"{url}/metrics", headers=headers).status_code == 200
        for wrong in ({}, {"Authorization": "Bearer of-the-api"}, {"Authorization": KEY}):
            assert httpx2.get(f"{url}/metrics", headers=wrong).status_code == 401
        # It opens nothing else.
        assert httpx2.get(f"{url}/v1/threads", headers=headers).status_code == 401


def test_metrics_can_be_switched_off():
    with testing.serve(metrics=False) as server:
        assert httpx2.get(f"{server.url}/metrics").status_code == 404


def test_the_page_takes_no_other_method(servers):
    answer = httpx2.post(f"{servers('sqlite').url}/metrics")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_metrics_have_an_address_of_their_own_if_wanted(tmp_path):
    port = free_port()

    async def main():
        settings = testing.Settings(port=0, metrics_port=port, database=f"sqlite:///{tmp_path / 'a.db'}")
        app = Threadkeep(settings)
        async with app.running(), serving._metrics_served(app), httpx2.AsyncClient() as http:
            page = await http.get(f"http://127.0.0.1:{port}/metrics")
            other = await http.get(f"http://127.0.0.1:{port}/v1/threads")
        return page, other

    page, other = asyncio.run(main())
    assert "threadkeep_info" in page.text
    assert other.status_code == 404


def test_a_fault_of_the_page_at_its_own_address_is_a_500_and_logged(tmp_path, monkeypatch, caplog):
    async def fail():
        raise ValueError("a fault")

    async def main():
        port = free_port()
        settings = testing.Settings(port=0, metrics_port=port, database=f"sqlite:///{tmp_path / 'a.db'}")
        app = Threadkeep(settings)
        monkeypatch.setattr(app.metrics_page, "_page", fail)
        async with app.running(), serving._metrics_served(app), httpx2.AsyncClient() as http:
            return await http.get(f"http://127.0.0.1:{port}/metrics")

    answer = asyncio.run(main())
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "a fault" in caplog.text
