"""Conversations of Codex CLI: `codex exec`, and `codex exec resume` for the second turn.

Its tool is the shell. It runs without a sandbox of its own, and the simulated LLM only lets it
print a line.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.interop.programs import codex_binary
from tests.interop.python.turns import PROMPTS

_CONFIG = """\
check_for_update_on_startup = false
model_provider = "hub"

[analytics]
enabled = false

[model_providers.hub]
name = "hub"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "HUB_TOKEN"
"""
_OPTIONS = (
    *("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
    "--model",
)


async def hold_conversations(url: str, token: str, folder: Path) -> list[dict[str, Any]]:
    """Hold the conversations at the same time; return their turns as the other programs do."""
    models = ("turns/codex-exec-stream", "thinker/codex-thinker-stream")
    held = await asyncio.gather(*(_hold(model, url, token, folder) for model in models))
    return [turn for turns in held for turn in turns]


async def _hold(model: str, url: str, token: str, folder: Path) -> list[dict[str, Any]]:
    name = model.partition("/")[2]
    home = folder / name
    home.mkdir()
    (home / "config.toml").write_text(_CONFIG.format(url=url))
    environment = {**os.environ, "CODEX_HOME": str(home), "HOME": str(home), "HUB_TOKEN": token}
    turns: list[dict[str, Any]] = []
    for prompt, resume in zip(PROMPTS, ([], ["resume", "--last"]), strict=True):
        process = await asyncio.create_subprocess_exec(
            *(codex_binary(), "exec", *resume, *_OPTIONS, model, prompt),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=home,
            env=environment,
        )
        output, errors = await process.communicate()
        items = [json.loads(line).get("item") or {} for line in output.splitlines()]
        texts = [item["text"] for item in items if item.get("type") == "agent_message"]
        if process.returncode or not texts:
            report = (output + errors).decode(errors="replace")
            return [*turns, {"client": name, "error": report}]
        turns.append({"client": name, "text": texts[-1]})
    return turns
