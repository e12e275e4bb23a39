"""`hub dev`: the whole hub on one machine, as separate processes under one supervisor.

Rules:
1. The supervisor opens the listening sockets itself, so that a taken port is known before anything
   starts, and a part that is started again finds its clients waiting.
2. Parts start in the order of dependency and stop in its reverse, each with a deadline; together
   they are gone within 3 s, and the kernel ends them when the supervisor is killed.
3. A part that ends by itself is started again; one that says its settings are wrong (exit 2) ends
   everything, and so does the broker.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hub.backends.embedded import SOCKET_NAME, embedded_command, embedded_url
from hub.cli.child_process import ChildProcess
from hub.cli.dev_state import DevState, write_dev_state
from hub.errors import BrokerUnavailable, OperatorError

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 15.0
_PARTS_STOP_SECONDS: Final = 2.0
_UPSTREAM_STOP_SECONDS: Final = 0.3
_BROKER_STOP_SECONDS: Final = 0.5


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `hub dev` was asked for."""

    port: int
    internal_port: int
    data: Path | None
    workers: int
    tokens_per_second: float
    config: Path | None
    upstreams: Sequence[str]  # names that the settings already know
    default_upstream: str | None


async def run_dev(options: DevOptions, say: Callable[[str], None]) -> None:
    """Runs until SIGINT or SIGTERM. Raises OperatorError, BrokerUnavailable when it cannot."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with ExitStack() as held:
        public = held.enter_context(_listening(options.port, "--port"))
        internal = held.enter_context(_listening(options.internal_port, "--internal-port"))
        upstream = held.enter_context(_listening(0, "--port"))
        data = held.enter_context(_data_folder(options.data))
        broker = ChildProcess(
            "valkey", _broker_command(data, keep=options.data is not None), {}, ()
        )
        parts = _parts(options, data, public, internal, upstream)
        try:
            await broker.start()
            await _until_accepting(data / SOCKET_NAME, broker)
            for part in parts:
                await part.start()
            keepers = [asyncio.create_task(part.run()) for part in parts]
            keepers.append(asyncio.create_task(_watch_broker(broker)))
            stopping = asyncio.create_task(stop.wait())
            ready = asyncio.create_task(_until_ready(_port(internal)))
            await _first_of(stopping, ready, keepers)
            if not stop.is_set():
                urls = DevState(
                    url=f"http://{_HOST}:{_port(public)}",
                    internal_url=f"http://{_HOST}:{_port(internal)}",
                    pid=os.getpid(),
                )
                held.enter_context(write_dev_state(urls))
                say(_greeting(urls, options, data, _port(upstream)))
                await _first_of(stopping, None, keepers)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            simulated, *others = parts
            await asyncio.gather(*(part.stop(_PARTS_STOP_SECONDS) for part in others))
            await simulated.stop(_UPSTREAM_STOP_SECONDS)
            await broker.stop(_BROKER_STOP_SECONDS)
    say("stopped")


def _parts(
    options: DevOptions,
    data: Path,
    public: socket.socket,
    internal: socket.socket,
    upstream: socket.socket,
) -> list[ChildProcess]:
    env = {
        **os.environ,
        # A proxy of the environment is for real LLMs, not for the simulated one on this machine.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), _HOST])),
        "HUB_PUBLIC__HOST": _HOST,
        "HUB_PUBLIC__PORT": str(_port(public)),
        "HUB_PUBLIC__DEMO_PAGE": "true",
        "HUB_INTERNAL__HOST": _HOST,
        "HUB_INTERNAL__PORT": str(_port(internal)),
        "HUB_REDIS__URL": embedded_url(data),
        "HUB_AUTH__DISABLED": "true",
        "HUB_WORKER__DRAIN_SECONDS": "1",
        "HUB_NODE__DRAIN_SECONDS": "0.5",  # within _PARTS_STOP_SECONDS, both
        "HUB_UPSTREAMS__SIMULATED__BASE_URL": f"http://{_HOST}:{_port(upstream)}/v1",
        "HUB_UPSTREAMS__SIMULATED__DEFAULT_MODEL": "simulated-1",
        "HUB_DEFAULT_UPSTREAM": options.default_upstream
        or next(iter(options.upstreams), "simulated"),
    }
    hub = [sys.executable, "-m", "hub"]
    config = ["--config", str(options.config)] if options.config else []
    fds = (public.fileno(), internal.fileno())
    serve = [*hub, "serve", *config, "--public-fd", str(fds[0]), "--internal-fd", str(fds[1])]
    simulate = [*hub, "upstream", "--fd", str(upstream.fileno())]
    simulate += ["--tokens-per-second", str(options.tokens_per_second)]
    parts = [
        ChildProcess("upstream", simulate, env, (upstream.fileno(),)),
        ChildProcess("node", serve, env, fds),
    ]
    for number in range(1, options.workers + 1):
        name = "worker" if options.workers == 1 else f"worker {number}"
        parts.append(ChildProcess(name, [*hub, "worker", *config], env, ()))
    return parts


async def _watch_broker(broker: ChildProcess) -> None:
    assert broker.process is not None
    code = await broker.process.wait()
    raise BrokerUnavailable(f"the embedded Valkey ended with exit code {code}")


async def _first_of(
    stopping: asyncio.Task[bool],
    ready: asyncio.Task[None] | None,
    keepers: Sequence[asyncio.Task[None]],
) -> None:
    """Returns when it is time to stop, or all is ready. Raises what a keeper raised."""
    waited: list[asyncio.Task[bool] | asyncio.Task[None]] = [stopping, *keepers]
    if ready is not None:
        waited.append(ready)
    done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _until_accepting(path: Path, broker: ChildProcess) -> None:
    assert broker.process is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            while broker.process.returncode is None:
                try:
                    _, writer = await asyncio.open_unix_connection(str(path))
                    writer.close()
                    return
                except OSError:
                    await asyncio.sleep(0.01)  # a file system tells nobody of a new socket
    except TimeoutError:
        pass
    log = path.with_name("valkey.log")
    last = log.read_text().strip().splitlines()[-1:] if log.exists() else []
    raise BrokerUnavailable(
        f"the embedded Valkey does not start: {' '.join(last) or 'no word of it'}"
    )


async def _until_ready(port: int) -> None:
    """The node answers on its socket only once it runs: the kernel keeps the question till then."""
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not await _is_ready(port):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise OperatorError(f"the node is not ready after {_START_SECONDS:g} s") from error


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(_HOST, port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read(64)
        writer.close()
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


@contextmanager
def _listening(port: int, flag: str) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OperatorError(f"port {port} is taken; choose another with {flag}") from error
    with listener:
        yield listener


@contextmanager
def _data_folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"the data folder {chosen} cannot be made: {error}") from error
        yield chosen.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="hub-dev-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _broker_command(data: Path, *, keep: bool) -> list[str]:
    _remove_stale_socket(data)
    return [*embedded_command(data, keep=keep), "--logfile", str(data / "valkey.log")]


def _remove_stale_socket(data: Path) -> None:
    """What a killed server left behind. Raises OperatorError when a server still answers there."""
    path = data / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise OperatorError(f"another hub dev uses the data folder {data}; choose another with --data")


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _command_name() -> str:
    """How this command can be typed where the user stands."""
    if shutil.which("hub"):
        return "hub"
    script = Path(sys.argv[0])
    return os.path.relpath(script) if script.name == "hub" else f"{sys.executable} -m hub"


def _greeting(urls: DevState, options: DevOptions, data: Path, upstream_port: int) -> str:
    note = '{"to":{"user":"alice"},"data":{"title":"Hello"}}'
    real = options.default_upstream or next(iter(options.upstreams), None)
    simulated = f"simulated, http://{_HOST}:{upstream_port}/v1"
    kept = "kept" if options.data else "gone when it stops"
    return f"""
  hub dev: ready, on loopback only, no token needed

  page      {urls.url}/
  stream    curl -N {urls.url}/sse/connect/alice
  publish   curl -X POST {urls.internal_url}/publish -H 'Content-Type: application/json' -d '{note}'
  ask       {_command_name()} ask alice "why is the sky blue?"
  LLM       {f"{real} (and {simulated})" if real else simulated}
  data      {data} ({kept})

  Ctrl-C stops everything."""
