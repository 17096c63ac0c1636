"""How the playground is served."""

from __future__ import annotations

import gzip
import re

import httpx2
import pytest

from threadkeep import testing
from threadkeep.http import static
from threadkeep.webhook_events import ALL_EVENTS


@pytest.fixture(scope="module")
def http():
    with testing.serve() as server, httpx2.Client(base_url=server.url) as client:
        yield client


def assets(http):
    # They are named without a slash in front, so that the page also works behind a prefix of a proxy.
    return [f"/{path}" for path in re.findall(r'(?:src|href)="(assets/[^"]+)"', http.get("/").text)]


def test_the_page_names_all_that_it_needs(http):
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert sorted(re.sub(r"-[0-9A-Z]{8}", "", path) for path in assets(http)) == [
        "/assets/app.js",
        "/assets/chunk.js",
        "/assets/icon.svg",
        "/assets/style.css",
    ]
    for path in assets(http):
        assert http.get(path).status_code == 200


def test_what_its_script_loads_later_is_there(http):
    [app] = [path for path in assets(http) if "/app-" in path]
    [later] = re.findall(r'import\("\./(later-[^"]+)"\)', http.get(app).text)[:1]
    imported = re.findall(r'from"\./([^"]+)"', http.get(f"/assets/{later}").text)
    # Nothing that would have to be waited for once more.
    assert {f"/assets/{name}" for name in imported} <= set(assets(http))


def test_the_page_offers_all_that_a_webhook_can_be_told(http):
    [app] = [path for path in assets(http) if "/app-" in path]
    scripts = http.get(app).text
    for name in set(re.findall(r'import\("\./([^"]+)"\)', scripts)):
        scripts += http.get(f"/assets/{name}").text
    assert tuple(re.findall(r'\["(thread\.run\.\w+)"', scripts)) == ALL_EVENTS


def test_the_page_may_run_no_script_but_its_own(http):
    page = http.get("/")
    rules = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|style=", page.text)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_the_page_and_its_style_name_no_other_address(http):
    for path in ("/", *assets(http)):
        if not path.endswith(".js"):
            assert set(re.findall(r"https?://[\w.]+", http.get(path).text)) <= {"http://www.w3.org"}, path


def test_files_are_sent_compressed_to_those_who_take_it(http):
    for path in ("/", "/openapi.json", *assets(http)):
        plain = http.get(path, headers={"accept-encoding": "identity"})
        with http.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        assert "content-encoding" not in plain.headers
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(raw) == plain.content
        assert plain.headers["vary"] == answer.headers["vary"] == "accept-encoding"
        assert plain.headers["etag"] != answer.headers["etag"]


def test_files_with_a_hash_in_their_name_are_kept_for_ever_and_the_page_is_not(http):
    assert http.get("/").headers["cache-control"] == "no-cache"
    for path in assets(http):
        assert http.get(path).headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_a_browser_has_already_is_not_sent_again(http, encoding):
    first = http.get("/", headers={"accept-encoding": encoding})
    again = http.get("/", headers={"accept-encoding": encoding, "if-none-match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "content-length" not in again.headers
    assert "content-type" not in again.headers
    # The connection goes on.
    assert http.get("/healthz").status_code == 200


def test_head_is_answered_without_a_body(http):
    answer = http.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_is_not_there_is_a_404(http):
    for path in ("/assets/app.js", "/assets/../index.html", "/index.html", "/assets/"):
        assert http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("br, gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("identity", False),
        ("gzip;q=1.0", True),
    ],
)
def test_an_encoding_is_taken_as_it_was_offered(accepted, takes):
    assert static.accepts_gzip(accepted) is takes
