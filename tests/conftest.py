"""Servers for the tests: Valkey from its wheel, Redis from the system, both on unix sockets.

A test that needs a server that is not installed is skipped on a laptop and fails in CI.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

import hypothesis
import pytest
import pytest_asyncio
import redis.asyncio
import uvloop
from playwright.async_api import Browser, expect

from hub.backends.embedded import SOCKET_NAME, embedded_command, embedded_url
from hub.backends.redis.client import RedisClient, open_client
from hub.backends.redis.permissions import acl_rules
from tests.chromium import open_chromium
from tests.quick import CostWriter, QuickSelection, read_costly
from tests.sharing import AloneLock, OrphanReaper, check_groups, count_processes, group_tests

pytest.register_assert_rewrite("hub.testing.contracts")
expect.set_options(timeout=60_000)  # the default of 5 s is too short for a busy machine


def missing(what: str) -> NoReturn:
    """Skip the test on a laptop, and fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is needed here and is not installed")
    pytest.skip(f"{what} is not installed")


class Server:
    """A server of the Redis protocol with a folder of its own."""

    def __init__(self, folder: Path, binary: str | None = None) -> None:
        self.folder = folder
        command = [*embedded_command(folder, keep=False), "--logfile", str(folder / "log")]
        if binary is not None:
            command[0] = binary
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return embedded_url(self.folder)

    def client(self) -> Any:
        """Return a client of redis-py."""
        return redis.asyncio.Redis(
            unix_socket_path=str(self.folder / SOCKET_NAME),
            protocol=2,
            driver_info=None,  # otherwise each client reads the metadata of its package
        )

    def start(self) -> None:
        (self.folder / SOCKET_NAME).unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(self.folder / SOCKET_NAME))
        try:
            for _ in range(1000):
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if self._process.poll() is not None:
                        break
                    time.sleep(0.01)
            self.kill()
            raise RuntimeError((self.folder / "log").read_text())
        finally:
            client.close()

    def kill(self) -> None:
        """Kill the process, as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """The Valkey of `hub dev`, shared by all tests of a process."""
    with ExitStack() as stack:
        yield stack.enter_context(Server(temporary_folder("valkey", stack)))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """The Redis of the system, shared by all tests of a process."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server")
    with ExitStack() as stack:
        yield stack.enter_context(Server(temporary_folder("redis", stack), binary))


def short_folder(name: str) -> Path:
    """Make a folder with a short path, as unix sockets need one."""
    return Path(tempfile.mkdtemp(prefix=f"hub-{name}-"))


def temporary_folder(name: str, stack: ExitStack | AsyncExitStack) -> Path:
    """Make a folder with a short path that the stack removes."""
    folder = short_folder(name)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short path for one test."""
    with ExitStack() as stack:
        yield temporary_folder("test", stack)


class OpenedRedis:
    """A server in a test.

    hub_client: the client of the hub. client: a client of redis-py, to look at the data.
    """

    def __init__(self, hub_client: RedisClient, client: Any) -> None:
        self.hub_client = hub_client
        self.client = client


OpenRedis = Callable[[str], Awaitable[OpenedRedis]]


async def _open_fakeredis(opened: AsyncExitStack) -> OpenedRedis:
    import fakeredis  # here, because few tests need it and each process would import it

    from tests.fake_connection import connect_to

    fake = fakeredis.FakeServer()
    client: Any = fakeredis.FakeAsyncRedis(server=fake, protocol=2)
    opened.push_async_callback(client.aclose)
    hub_client = await opened.enter_async_context(
        # fakeredis may be slow.
        open_client("redis://fake", timeout_seconds=20.0, connect=connect_to(fake))
    )
    return OpenedRedis(hub_client, client)


@pytest.fixture
async def open_redis(request: pytest.FixtureRequest) -> AsyncIterator[OpenRedis]:
    """Opens an empty server by its name: `fakeredis`, `valkey`, `redis`, or `restricted`, which is
    Valkey with a login that has only the permissions that a hub needs.
    """
    async with AsyncExitStack() as opened:

        async def open_by_name(name: str) -> OpenedRedis:
            if name == "fakeredis":
                return await _open_fakeredis(opened)
            server = request.getfixturevalue("redis_server" if name == "redis" else "valkey")
            client = server.client()
            opened.push_async_callback(client.aclose)
            await client.flushall()
            url = server.url
            if name == "restricted":
                rules = ("reset", "on", ">pw", *acl_rules().split())
                await client.execute_command("ACL", "SETUSER", "hub", *rules)
                url = url.replace("://", "://hub:pw@")
            hub_client = await opened.enter_async_context(open_client(url, timeout_seconds=20.0))
            return OpenedRedis(hub_client, client)

        yield open_by_name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser that all tests of a process share. They run in the event loop of the session."""
    async with open_chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The browser without pages or storage of other tests (`new_context` of tests/chromium.py)."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`scripts/test interop` renews the table of clients; `scripts/test --quick` is for while one
    works.
    """
    parser.addoption("--keep-clients", action="store_true", help="renew docs/clients/tested.md")
    parser.addoption(
        "--quick", action="store_true", help="no browser, Java, npm or whole hub; no slow tests"
    )
    parser.addoption("--write-costs", action="store_true", help="renew tests/costly.txt")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes for `-n auto`."""
    return count_processes(config)


@pytest.hookimpl(optionalhook=True)  # called only by xdist
def pytest_xdist_node_collection_finished(ids: list[str]) -> None:
    """Refuse to run when xdist ignores the groups of the tests."""
    check_groups(ids)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in this hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share costly fixtures (several hub processes, a browser) in one process."""
    group_tests(items)


_MAX_ID_CHARACTERS = 100  # of the value of one parameter


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the ids of long values: xdist sends an id of megabytes with each report, and every
    process that the test starts gets it in the environment.
    """
    if not isinstance(val, str | bytes) or len(val) <= _MAX_ID_CHARACTERS:
        return None
    return f"{val[:20]!r} and {len(val) - 20} more"


# On a busy machine an example may take long; the timeout of the test guards against hanging.
hypothesis.settings.register_profile("hub", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=15)
hypothesis.settings.load_profile("hub")


# Objects, not the default of 700: most garbage of the tests is not cyclic.
_GC_THRESHOLD = 10_000


def pytest_collection_finish() -> None:
    """Leave the modules and the thousands of tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Register the turns of the tests, and the end of orphaned processes."""
    gc.set_threshold(_GC_THRESHOLD)
    config.pluginmanager.register(AloneLock(config), "alone-lock")
    if config.getoption("--quick"):
        costly = frozenset[str]() if config.getoption("--write-costs") else read_costly()
        config.pluginmanager.register(QuickSelection(costly), "quick-selection")
        hypothesis.settings.load_profile("quick")  # before the modules with tests are imported
    if config.getoption("--write-costs"):
        config.pluginmanager.register(CostWriter(), "cost-writer")
    if config.getoption("numprocesses", None):  # only in the controlling process
        config.pluginmanager.register(OrphanReaper(), "orphan-reaper")
    else:
        gc.disable()  # until this process has collected the tests, which stay


# The tests of these folders use sockets. The paths start at the folder of all tests.
_WITH_SOCKETS = {"backends", "compat", "grpc", "http", "security", "transports", "upstreams"}
# The subject of these files is how sockets are read and written.
_ON_BOTH_LOOPS = {
    *("backends/client/test_client.py", "backends/test_subscriptions.py"),
    *("compat/test_responses_websocket.py", "http/test_generation_streams.py"),
    *("http/test_publish_batch.py", "http/test_server.py", "http/test_transports.py"),
    *("transports/test_held_writer.py", "transports/test_socket_writer.py"),
    "transports/test_sse_response.py",
    *("upstreams/test_ends.py", "upstreams/test_framing.py", "upstreams/test_requests.py"),
}
_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests that use sockets on uvloop, which production uses, and the others on the loop of
    asyncio.

    The files whose subject is how sockets are read and written run on both loops; not with --quick.
    A test with the mark `asyncio(loop_factories=…)` runs on the loops that the mark names.
    """
    mark = item.get_closest_marker("asyncio")
    if mark is not None and "loop_factories" in mark.kwargs:
        return _LOOPS
    loops = _loops_of_file(item.path)
    return {"uvloop": _LOOPS["uvloop"]} if config.getoption("--quick") and len(loops) > 1 else loops


@cache
def _loops_of_file(file: Path) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    path = file.relative_to(Path(__file__).parent)
    if path.parts[0] not in _WITH_SOCKETS:
        return {"asyncio": _LOOPS["asyncio"]}
    return _LOOPS if path.as_posix() in _ON_BOTH_LOOPS else {"uvloop": _LOOPS["uvloop"]}
