"""The client commands: where they find the hub, and what they say when nothing happens."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.backends.redis.keys import deliveries_key
from hub.cli import client_urls
from hub.cli.client_urls import find_urls
from hub.cli.doctor.workers import check_workers
from hub.cli.supervisor.dev_state import DevState
from hub.core.fair_queue import Job
from hub.core.generation import new_generation_id
from hub.engine.tasks import Supervisor, SystemClock
from hub.settings import Settings, load_settings
from hub.wiring.backend import open_backend, open_redis_client
from tests.defaults import token_reader
from tests.forked_hub import hub_program
from tests.http.kit import running_hub
from tests.topologies import free_ports

SECRET = "s" * 64
TOKEN = jwt.encode({"sub": "alice", "exp": 4e9}, SECRET, algorithm="HS256")
DEV = DevState(url="http://127.0.0.1:7000", internal_url="http://127.0.0.1:7001", pid=1)


@asynccontextmanager
async def running(
    *args: str, folder: Path, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `hub` inside the block, without the settings of this environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    process = await asyncio.create_subprocess_exec(
        hub_program(),
        *args,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**clean, "TMPDIR": str(folder), **env},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, words: str) -> str:
    """Return the line of standard error that contains the words."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while words not in (line := (await process.stderr.readline()).decode()):
            assert line, "the command has ended"
    return line


@pytest.mark.parametrize(
    ("variables", "file", "dev", "expected"),
    [
        ({}, "", None, ("http://127.0.0.1:8080", "http://127.0.0.1:8081")),
        ({}, "", DEV, (DEV.url, DEV.internal_url)),
        ({"HUB_PUBLIC__PORT": "9000"}, "", DEV, ("http://127.0.0.1:9000", DEV.internal_url)),
        (
            {"HUB_PUBLIC__HOST": "0.0.0.0", "HUB_INTERNAL__HOST": "10.1.2.3"},
            "",
            None,
            ("http://127.0.0.1:8080", "http://10.1.2.3:8081"),
        ),
        ({"HUB_PUBLIC__HOST": "::"}, "", None, ("http://[::1]:8080", "http://127.0.0.1:8081")),
        ({}, "[public]\nport = 9000\n", None, ("http://127.0.0.1:9000", "http://127.0.0.1:8081")),
        ({}, "[public]\nport = 9000\n", DEV, (DEV.url, DEV.internal_url)),
        (
            {"HUB_CLIENT__URL": "http://hub", "HUB_PUBLIC__PORT": "9000"},
            "",
            DEV,
            (None, DEV.internal_url),
        ),
        (
            {"HUB_PUBLIC__TLS_CERT": "c", "HUB_PUBLIC__TLS_KEY": "k"},
            "",
            None,
            ("https://127.0.0.1:8080", "http://127.0.0.1:8081"),
        ),
    ],
)
def test_urls(
    variables: Mapping[str, str],
    file: str,
    dev: DevState | None,
    expected: tuple[str | None, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commands go to the listeners of the variables, of `hub dev`, or of the settings file."""
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client_urls, "read_dev_state", lambda: dev)
    (tmp_path / "hub.toml").write_text(file)
    urls = find_urls(load_settings(tmp_path / "hub.toml"))
    assert (urls.get("client.url"), urls.get("client.internal_url")) == expected


async def test_tail_says_that_there_is_no_hub(tmp_path: Path) -> None:
    """`hub tail` names the address and the reason while it waits for the hub."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with running("tail", "alice", "--url", url, folder=tmp_path) as process:
        line = await read_until(process, "cannot reach the hub")
        assert url in line
        assert "Connection refused" in line


async def test_ask_says_that_no_worker_takes_the_request(tmp_path: Path) -> None:
    """`hub ask` says why nothing happens while the request stays in the queue."""
    async with running_hub() as hub:
        url = f"http://127.0.0.1:{hub.port}"
        async with running("ask", "alice", "hi", "--url", url, folder=tmp_path) as process:
            assert "hub worker" in await read_until(process, "no worker has taken it")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["publish", "alice"], ["an API key is required", "--key"]),
        (["publish", "alice", "--key", "a-wrong-one"], ["the API key is wrong"]),
        (["publish", "alice", "--key", TOKEN], ["user's token"]),
        (["tail", "alice"], ["a token is required", "hub token"]),
        (["tail", "alice", "--token", "wrong"], ["the token is not valid"]),
        (["tail", "bob", "--token", TOKEN], ["another user"]),
        (["ask", "bob", "hi", "--token", "wrong"], ["the token is not valid"]),
    ],
)
async def test_wrong_credentials(command: list[str], words: list[str], tmp_path: Path) -> None:
    """No key, a wrong key, no token, a wrong token and another user: each has its own sentence."""
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    keys = ApiKeys([ApiKey("shop", hash_key("publisher"), frozenset({"publish"}))])
    authenticator = JwtAuthenticator(reader, AllowedOrigins(()))
    async with running_hub(authenticator, keys) as hub:
        env = {
            "HUB_CLIENT__URL": f"http://127.0.0.1:{hub.port}",
            "HUB_CLIENT__INTERNAL_URL": f"http://127.0.0.1:{hub.internal_port}",
        }
        async with running(*command, folder=tmp_path, **env) as process:
            line = await read_until(process, "hub: ")
            assert all(each in line for each in words), line
            assert await process.wait() == 1
        assert "a-wrong-one" not in line


async def test_doctor_says_that_no_worker_sends(valkey: Any) -> None:
    """The doctor warns of webhooks or pushes that have been due for a while."""
    flags = {"redis.url": valkey.url, "redis.prefix": f"{new_generation_id(0)}:"}
    settings = load_settings(None, flags).settings
    async with open_redis_client(settings) as client:
        for queue, seconds in (("push", 70.0), ("webhook", 10.0)):
            due_ms = round((time.time() - seconds) * 1000)
            await client.call_key(5, "ZADD", deliveries_key(5, queue), due_ms, "user:alice/x")
    (result,) = await check_workers(settings)
    assert (result.status, "'push'" in result.message) == ("warn", True)
    assert "[push]" in result.advice


async def leave_a_run_of(version: str, settings: Settings) -> None:
    """Add a job that only workers of a version may continue."""
    async with open_backend(settings, ["default"]) as backend, Supervisor(SystemClock()) as tasks:
        tasks.start("queue", backend.queue.run)
        await backend.queue.enqueue(Job("g1", "alice", "main"))
        lease = await backend.queue.reserve(30)
        assert lease is not None
        await backend.queue.release(lease, version=version)


async def test_doctor_says_that_no_worker_serves(tmp_path: Path, valkey: Any) -> None:
    """The doctor warns of each queue without a worker, and not once a worker serves it."""
    upstream = {"base_url": "http://127.0.0.1:1", "default_model": "m"}
    # The server is that of all tests of this process, and their workers have just read its queues.
    prefix = f"{new_generation_id(0)}:"
    flags = {
        "redis.url": valkey.url,
        "redis.prefix": prefix,
        "upstreams": {"main": upstream, "slow": {**upstream, "queue": "slow"}},
    }
    settings = load_settings(None, flags).settings
    before = await check_workers(settings)
    assert [(each.status, "no worker serves" in each.message) for each in before] == [
        ("warn", True),
        ("warn", True),
    ]
    assert "--queues slow" in before[1].advice
    await leave_a_run_of("v1", settings)
    (waits,) = (await check_workers(settings))[2:]
    assert waits.message == (
        "1 of the runs in the queue 'default' wait for a worker of the version 'v1', and none runs"
    )
    assert "hub worker --version v1" in waits.advice
    env = {
        "HUB_REDIS__URL": valkey.url,
        "HUB_REDIS__PREFIX": prefix,
        "HUB_UPSTREAMS__MAIN__BASE_URL": "http://127.0.0.1:1",
        "HUB_UPSTREAMS__MAIN__DEFAULT_MODEL": "m",
        "HUB_AUTH__DISABLED": "true",
    }
    async with running("worker", folder=tmp_path, **env) as worker:
        await read_until(worker, "worker.started")
        async with asyncio.timeout(60):
            while (after := await check_workers(settings))[0].status != "ok":
                assert worker.returncode is None
        assert after[1].status == "warn"
