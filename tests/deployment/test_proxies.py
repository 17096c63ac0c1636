"""The proxies of "Run behind a proxy", in front of a server as the page starts it."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import pytest
from tests import certificates
from tests.deployment.conftest import Served, replaced, shown, wait_until_listening
from tests.ports import free_port

PAGE = "run-behind-a-proxy.md"
# What Debian's own nginx.conf has around the page's part of it, for a user who is not the system's.
NGINX = """\
daemon off;
pid nginx.pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path answers;
    fastcgi_temp_path others;
    uwsgi_temp_path others;
    scgi_temp_path others;
    {page}
}}
"""
CADDY = """\
{{
    admin off
    auto_https disable_redirects
    storage file_system {folder}
}}
{page}
"""
# The server's own limit is 16 MiB, of a message 256 000 characters.
LONG = {"role": "user", "content": "x" * 250_000}
MANY = 60


@dataclass
class Proxied:
    """A server, and how it is reached."""

    server: Served
    url: str
    certificate: Path

    def http(self, local_address=None):
        context = ssl.create_default_context(cafile=self.certificate)
        transport = httpx2.HTTPTransport(verify=context, local_address=local_address)
        return httpx2.Client(base_url=self.url, transport=transport)

    def sdk(self):
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.server.new_key(), http_client=self.http(), max_retries=0
        )


def nginx(folder, port, address, certificate, key):
    main, socket_upstream = shown(PAGE, "nginx")
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "# ssl_certificate and ssl_certificate_key go here": tls,
    }
    if address.startswith("/"):
        upstream = main[: main.index("server {\n    listen")]
        changes[upstream] = replaced(socket_upstream, {"/run/threadkeep/threadkeep.sock": address})
    else:
        changes["127.0.0.1:8000"] = address
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(user=user, page=replaced(main, changes)))
    return ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]


def caddy(folder, port, address, certificate, key):
    [page] = shown(PAGE, "caddyfile")
    changes = {
        "threads.example.com {": f"https://127.0.0.1:{port} {{\n    tls {certificate} {key}",
        "127.0.0.1:8000": address,
    }
    (folder / "Caddyfile").write_text(CADDY.format(folder=folder, page=replaced(page, changes)))
    return ["caddy", "run", "--config", folder / "Caddyfile"]


@pytest.fixture(params=["nginx", "nginx before a socket", "caddy"])
def proxied(request, serve, run, tmp_path):
    if request.param == "nginx before a socket":
        server = serve("--uds", str(tmp_path / "threadkeep.sock"), "--forwarded-allow-ips", "*")
        server.address = str(tmp_path / "threadkeep.sock")
    else:
        server = serve("--forwarded-allow-ips", "127.0.0.1")
    certificate, key = certificates.made(tmp_path)
    port = free_port()
    configured = caddy if request.param == "caddy" else nginx
    proxy = run(*configured(tmp_path, port, server.address, certificate, key))
    wait_until_listening(port, proxy)
    return Proxied(server, f"https://127.0.0.1:{port}", certificate)


def test_tokens_come_through_as_the_model_says_them(proxied, model):
    model.hold(after=3)
    with proxied.sdk() as client:
        assistant = client.beta.assistants.create(model="text:20", instructions="Speak.")
        events = client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
        first = next(event for event in events if event.event == "thread.message.delta")
        assert first.data.delta.content[0].text.value
        model.release()
        assert [event.event for event in events][-2:] == ["thread.run.step.completed", "thread.run.completed"]


def test_bodies_of_the_servers_size_and_imports_of_any_pass(proxied):
    with proxied.sdk() as client, proxied.http() as http:
        http.headers = client.auth_headers
        thread = client.beta.threads.create(messages=[LONG] * MANY)
        export = http.get("/v1/export").read()
        assert len(export) > MANY * 250_000
        # The second time, all is there.
        imported = http.post("/v1/import", content=export * 2)
        assert imported.status_code == 200, imported.text
        assert len(list(client.beta.threads.messages.list(thread.id, limit=100))) == MANY


def test_metrics_are_not_for_those_behind_it(proxied):
    with proxied.http() as http:
        assert http.get("/metrics").status_code in {403, 404}


def test_a_server_without_a_key_is_not_open_to_those_behind_it(proxied):
    with proxied.http() as http:
        refused = http.get("/v1/threads")
    assert refused.status_code == 403
    assert "does not answer requests that come through a proxy" in refused.json()["error"]["message"]


def test_the_log_has_the_clients_address(proxied):
    with proxied.http(local_address="127.0.0.2") as http:
        assert http.get("/healthz").status_code == 200
    proxied.server.stop()
    assert " client=127.0.0.2\n" in proxied.server.log.read_text()
