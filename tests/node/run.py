"""The official Node SDK, newest and version 4, and curl: the clients of programs that are not written in Python.

Node comes from the PATH when it is recent enough for the newest SDK, otherwise from a package that pip installs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from threadkeep import testing

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "eras"))

import environments

VERSIONS = ("newest", "v4")
# Signs of life come between the tokens of a slow model.
HEARTBEAT_S = 0.05

HEADERS = """-H "Content-Type: application/json" -H "Authorization: Bearer $KEY" -H "OpenAI-Beta: assistants=v2" """
# The requests of the reference's thread page, in the order in which one thread can meet them all.
CURL = {
    "create an empty thread": f"curl $BASE/threads {HEADERS} -d ''",
    "retrieve it": f"curl $BASE/threads/$THREAD {HEADERS}",
    "modify it": (
        f"""curl $BASE/threads/$THREAD {HEADERS} -d '{{"metadata": {{"modified": "true", "user": "abc123"}}}}'"""
    ),
    "delete it": f"curl $BASE/threads/$THREAD {HEADERS} -X DELETE",
}


def main() -> int:
    programs = environments.node_programs()
    folders = {version: installed(version, programs) for version in VERSIONS}
    with (
        testing.model() as model,
        testing.serve(upstream_url=model.base_url, stream_heartbeat_s=HEARTBEAT_S) as lenient,
        testing.serve(upstream_url=model.base_url, stream_heartbeat_s=HEARTBEAT_S, strict=True) as strict,
    ):
        passed = []
        for name, server in (("lenient", lenient), ("strict", strict)):
            for version, folder in folders.items():
                title = f"openai for node, {version}, {name} server"
                passed.append(suite_passes(title, programs / "node", folder, server))
            passed.append(curl_works(f"curl, {name} server", server))
    return 0 if all(passed) else 1


def installed(version: str, programs: Path) -> Path:
    """A folder with the suite and the SDK that it imports."""
    folder = environments.CACHE / "node" / version
    folder.mkdir(parents=True, exist_ok=True)
    for source in (HERE / "suite.mjs", *(HERE / version).iterdir()):
        shutil.copy(source, folder)
    wanted = (folder / "package-lock.json").read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing the node SDK into {folder.relative_to(environments.ROOT)}", flush=True)
        npm = (programs / "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        environments.run_quietly(*npm, cwd=folder)
        stamp.write_text(wanted)
    return folder


def suite_passes(title: str, node: Path, folder: Path, server: testing.RunningServer) -> bool:
    print(f"\n{title}", flush=True)
    variables = environments.loopback_only(BASE_URL=server.base_url, API_KEY=server.new_key(title))
    command = (node, "--test", "--test-reporter=spec", "suite.mjs")
    return subprocess.run(command, cwd=folder, env=variables, check=False).returncode == 0


def curl_works(title: str, server: testing.RunningServer) -> bool:
    print(f"\n{title}", flush=True)
    if not shutil.which("curl"):
        print("curl is not installed, so it is not tried")
        return True
    variables = environments.loopback_only(BASE=server.base_url, KEY=server.new_key(title))
    failed = 0
    thread: dict[str, object] = {}
    for name, command in CURL.items():
        answer = answer_of(command, variables)
        thread = thread or answer
        variables["THREAD"] = str(thread.get("id"))
        held = answer == expected_answer(name, thread)
        failed += not held
        print("ok  " if held else f"FAIL {answer}", name, flush=True)
    print(f"{len(CURL) - failed} passed, {failed} failed", flush=True)
    return not failed


def expected_answer(name: str, thread: dict[str, object]) -> dict[str, object]:
    """What the request must give, but for the id and the time, which are those that create gave."""
    if name == "delete it":
        return {"id": thread.get("id"), "object": "thread.deleted", "deleted": True}
    return {
        "id": thread.get("id"),
        "object": "thread",
        "created_at": thread.get("created_at"),
        "metadata": {"modified": "true", "user": "abc123"} if name == "modify it" else {},
        "tool_resources": {},
    }


def answer_of(command: str, variables: dict[str, str]) -> dict[str, object]:
    """The JSON that the command prints when a shell runs it."""
    done = subprocess.run(command, shell=True, env=variables, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"{command}\n{done.stdout}{done.stderr}") from None


if __name__ == "__main__":
    sys.exit(main())
