"""What real processes write while everything fails whose address or key is a secret."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt

from hub.backends.redis.permissions import acl_rules
from tests.forked_hub import start_hub
from tests.topologies import free_ports

SECRET: Final = "S3CRET"
SIGNING_KEY: Final = f"{SECRET}-{'k' * 40}"
API_KEY: Final = f"{SECRET}-of-the-shop"
DEAD: Final = f"http://u:{SECRET}@127.0.0.1:9"


def environment(redis_url: str, port: int, internal_port: int) -> dict[str, str]:
    """Return variables with a secret wherever one can be."""
    upstream = {
        "base_url": f"http://127.0.0.1:9/v1?key={SECRET}",
        "api_key": SECRET,
        "headers": {"X-Key": SECRET},
        "body": {"user": SECRET},
        "default_model": "m",
        "retries": 0,
    }
    tables: dict[str, Any] = {
        "redis": {"url": redis_url},
        "public": {"port": port},
        "internal": {"port": internal_port},
        "upstreams": {"main": upstream},
        "auth": {
            "hmac_secret": SIGNING_KEY,
            "jwks_url": f"{DEAD}/jwks?key={SECRET}",
            "api_keys": [{"key": API_KEY, "scopes": ["publish", "read", "admin"]}],
        },
        "tracing": {"endpoint": f"{DEAD}?key={SECRET}", "sample_ratio": 1.0},
        "node": {"drain_seconds": 0.1},
        "worker": {"drain_seconds": 0.1},
        "logs": {"level": "debug", "format": "json"},
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return {**clean, **{f"HUB_{name.upper()}": json.dumps(each) for name, each in tables.items()}}


@asynccontextmanager
async def process(command: str, env: dict[str, str], log: Path) -> AsyncIterator[None]:
    """Run `hub serve` or `hub worker` inside the block, and write its output to the file."""
    with log.open("wb") as output:
        running = start_hub(command, env=env, output=output, folder=log.parent)
        try:
            yield
        finally:
            running.terminate()
            async with asyncio.timeout(60):
                await running.wait()


async def wait_until_ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:  # another process: nothing can be awaited
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def send_malformed(port: int) -> None:
    """Send a request that is not HTTP, with a token in it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /sse/connect?access_token={SECRET} NONSENSE\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def test_log_lines_show_no_secret(tmp_path: Path, valkey: Any) -> None:
    """Logs of a node and a worker name what failed, and hold no part of a URL's login or query,
    no key and no token.
    """
    port, internal_port = free_ports(2)
    client = valkey.client()
    await client.execute_command(
        "ACL", "SETUSER", "masked", "reset", "on", f">{SECRET}", *acl_rules().split()
    )
    await client.aclose()
    env = environment(valkey.url.replace("://", f"://masked:{SECRET}@"), port, internal_port)
    good = jwt.encode({"sub": "alice", "exp": time.time() + 60}, SIGNING_KEY, algorithm="HS256")
    unknown = jwt.encode(
        {"sub": SECRET, "exp": time.time() + 60}, "o" * 64, "HS256", headers={"kid": SECRET}
    )
    public, internal = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{internal_port}"
    logs = [tmp_path / "serve", tmp_path / "worker"]
    async with (
        process("serve", env, logs[0]),
        process("worker", env, logs[1]),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
    ):
        await wait_until_ready(session, internal)
        for token in (unknown, SECRET, f"{SECRET}.a.b"):
            async with session.get(f"{public}/sse/connect?access_token={token}") as refused:
                assert refused.status in (401, 503)
        async with session.post(
            f"{internal}/publish", headers={"Authorization": f"Bearer {SECRET}"}
        ) as refused:
            assert refused.status == 401
        await send_malformed(port)
        async with session.post(
            f"{public}/generations",
            json={"prompt": SECRET},
            headers={"Authorization": f"Bearer {good}", "Accept": "text/event-stream"},
        ) as answer:
            body = await answer.text()
        assert "upstream_unreachable" in body
        assert SECRET not in body
    text = "".join(log.read_text() for log in logs)
    for event in ("node.started", "worker.started", "jwks.fetch_failed", "upstream.failed"):
        assert event in text
    assert [line for line in text.splitlines() if SECRET in line] == []
    assert good not in text
