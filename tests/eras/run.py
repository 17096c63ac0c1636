"""Programs written years ago still work: the same facts, told by each era of the official Python SDK.

The eras differ in the names of calls, in the `OpenAI-Beta` header and in what they expect of an answer. Each has a
virtual environment of its own, made from `openai-<era>.txt`, in which `suite.py` talks to a real server.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import environments

from threadkeep import testing

HERE = Path(__file__).parent
ERAS = ("2", "1.109", "1.30", "1.3")
# Sends `OpenAI-Beta: assistants=v1`, which strict refuses as the original did.
V1_ERA = "1.3"
# Signs of life come between the tokens of a slow model.
HEARTBEAT_S = 0.05


def main() -> int:
    pythons = {era: python_of(era) for era in ERAS}
    with (
        testing.model() as model,
        testing.serve(upstream_url=model.base_url, stream_heartbeat_s=HEARTBEAT_S) as lenient,
        testing.serve(upstream_url=model.base_url, stream_heartbeat_s=HEARTBEAT_S, strict=True) as strict,
    ):
        passed = [
            facts_hold(f"openai {era}, {name} server", python, server)
            for era, python in pythons.items()
            for name, server in (("lenient", lenient), ("strict", strict))
            if server is lenient or era != V1_ERA
        ]
    return 0 if all(passed) else 1


def python_of(era: str) -> Path:
    folder = environments.CACHE / "eras" / f"openai-{era}"
    return environments.with_requirements(folder, HERE / f"openai-{era}.txt") / "python"


def facts_hold(title: str, python: Path, server: testing.RunningServer) -> bool:
    print(f"\n{title}", flush=True)
    command = (python, HERE / "suite.py", server.base_url, server.new_key(title))
    return subprocess.run(command, env=environments.loopback_only(), check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
