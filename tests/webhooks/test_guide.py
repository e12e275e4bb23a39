"""The receivers of docs/guides/webhooks.md accept what the hub sends, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from hub.core.webhooks import Endpoint, build_body, build_headers, new_secret
from hub.settings import Settings
from tests.docs.snippets import DOCS, find_blocks
from tests.topologies import free_ports

SECRET = new_secret()
BLOCKS = {block.language: block.code for block in find_blocks(DOCS / "guides" / "webhooks.md")}


@pytest.fixture(params=["python", "js"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a running receiver."""
    port = free_ports(1)[0]
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    if request.param == "js":
        node = shutil.which("node")
        if node is None:
            if os.environ.get("CI"):
                pytest.fail("node is missing")
            pytest.skip("node is missing")
        (tmp_path / "receiver.mjs").write_text(BLOCKS["js"])
        command = [node, "receiver.mjs"]
    else:
        (tmp_path / "receiver.py").write_text(BLOCKS["python"])
        command = [sys.executable, "-m", "uvicorn", "receiver:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{port}/hub-events"
        finally:
            process.kill()


async def test_receiver(receiver: str) -> None:
    """A signed request is a 204 each time, and a changed, unsigned or old one a 401."""
    endpoint = Endpoint(id="s", url="", secrets=(new_secret(), SECRET))
    body = build_body("generation.done", {"generation": "g1", "text": "ü"}, time.time())
    headers = build_headers(endpoint, "d00x", body, time.time())
    old = build_headers(endpoint, "d00x", body, time.time() - 3600)
    async with aiohttp.ClientSession() as session, asyncio.timeout(150):  # a receiver is starting

        async def send(data: bytes, given: dict[str, str]) -> int:
            while True:
                try:
                    async with session.post(receiver, data=data, headers=given) as response:
                        return response.status
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)  # it is starting

        assert await send(body, dict(headers)) == 204
        assert await send(body, dict(headers)) == 204
        assert await send(body.replace(b"g1", b"g2"), dict(headers)) == 401
        assert await send(body, {}) == 401
        assert await send(body, dict(old)) == 401


def test_settings_of_the_trial() -> None:
    """The variable with which the page starts `hub dev` is a webhook of a receiver on loopback."""
    (start,) = [
        each.code
        for each in find_blocks(DOCS / "guides" / "webhooks.md")
        if each.part == "Try it on your machine" and each.language == "sh"
    ]
    value = start.split("HUB_WEBHOOKS='")[1].rsplit("' hub dev", 1)[0]
    webhooks = json.loads(value.replace("'$WEBHOOK_SECRET'", SECRET))
    (webhook,) = Settings.model_validate({"webhooks": webhooks}).webhooks
    assert webhook.url == "http://127.0.0.1:3000/hub-events"
    assert webhook.allow_private
