"""hub webhooks: what operators see of endpoints and deliveries."""

from __future__ import annotations

import asyncio
import json

from typer.testing import CliRunner

from hub.cli.app import app
from hub.core.deliveries import Dead
from hub.core.webhooks import WEBHOOK_QUEUE, find_secret_problem
from tests.http.kit import Hub, running_hub


async def run(hub: Hub, *arguments: str) -> tuple[int, str]:
    """Run a command against a hub."""
    url = f"http://127.0.0.1:{hub.internal_port}"
    command = ["webhooks", *arguments, "--internal-url", url]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    return result.exit_code, result.output + str(result.exception or "")


def test_secret() -> None:
    """A secret can be put into the settings."""
    result = CliRunner().invoke(app, ["webhooks", "secret"])
    assert find_secret_problem(result.output.strip()) is None


async def test_dead_letters() -> None:
    """Dead letters are listed with their last error, shown with attempts and body, and replayed."""
    async with running_hub() as hub:
        body = {"url": "https://a.example/"}
        _, created = await hub.call("POST", "/webhooks", internal=True, json=body)
        path = f"/webhooks/{created['id']}/test"
        _, queued = await hub.call("POST", path, internal=True)
        code, output = await run(hub, "list")
        assert code == 0
        assert created["id"] in output
        assert "1 waiting, 0 dead" in output
        assert queued["delivery"] in (await run(hub, "waiting"))[1]
        store = hub.backend.deliveries
        (taken,) = await store.take(WEBHOOK_QUEUE, 1, lease_seconds=60.0)
        await store.complete(taken, Dead("status 502"))
        assert "1 failed: status 502" in (await run(hub, "dead"))[1]
        assert json.loads((await run(hub, "dead", "--json"))[1])[0]["id"] == queued["delivery"]
        shown = (await run(hub, "show", queued["delivery"]))[1]
        assert "status 502" in shown
        assert '"webhook.test"' in shown
        assert (await run(hub, "replay"))[0] != 0
        assert queued["delivery"] in (await run(hub, "replay", "--all"))[1]
        assert len(await store.list_waiting(WEBHOOK_QUEUE, 10)) == 1
        code, output = await run(hub, "replay", "d00x")
        assert code != 0
        assert "there is no delivery d00x" in output
