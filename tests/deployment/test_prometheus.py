"""Prometheus, as "Monitor with Prometheus" configures it."""

from __future__ import annotations

import time

import httpx2
from tests.conftest import PATIENCE_S
from tests.deployment.conftest import replaced, shown, wait_until_listening
from tests.ports import free_port

KEY = "a-long-random-text"


def test_prometheus_reads_a_server_that_needs_a_key(serve, run, monkeypatch, tmp_path):
    monkeypatch.setenv("THREADKEEP_METRICS_KEY", KEY)
    server = serve()
    (tmp_path / "key").write_text(KEY)
    scrape, authorization = shown("monitor-with-prometheus.md", "yaml")
    changes = {"127.0.0.1:8000": server.address, "/etc/prometheus/threadkeep-metrics-key": str(tmp_path / "key")}
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text("global: {scrape_interval: 1s}\n" + replaced(scrape + authorization, changes))
    port = free_port()
    prometheus = run(
        "prometheus", f"--config.file={configuration}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"
    )
    wait_until_listening(port, prometheus)
    with httpx2.Client(base_url=f"http://{server.address}/v1") as http:
        assert http.get("/threads").status_code == 200
    deadline = time.monotonic() + PATIENCE_S
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as http:
        query = {"query": 'threadkeep_requests_total{method="GET", route="/threads", status="200"}'}
        while not (found := http.get("/query", params=query).json()["data"]["result"]):
            assert time.monotonic() < deadline, (tmp_path / "prometheus.log").read_text()
    assert [one["value"][1] for one in found] == ["1"]
