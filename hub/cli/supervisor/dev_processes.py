"""What `hub dev` needs before it starts: listening sockets, a data directory, the child processes.

The supervisor opens the listening sockets itself. A port that is in use is therefore reported
before anything starts, and a child process that is restarted finds its waiting clients.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from hub.backends.embedded import SOCKET_NAME, embedded_command, embedded_url
from hub.cli.supervisor.child_process import ChildProcess
from hub.cli.supervisor.dev_faults import SOCKET_NAME as FAULTS_SOCKET_NAME
from hub.cli.supervisor.dev_push import push_environment
from hub.errors import OperatorError
from hub.settings import SIMULATED_UPSTREAM, Push

HOST: Final = "127.0.0.1"
VALKEY_LOG: Final = "valkey.log"
# Both drain times must end within the time that dev.py gives a node and a worker to stop.
_WORKER_DRAIN_SECONDS: Final = "1"
_NODE_DRAIN_SECONDS: Final = "0.5"
_FUNCTION_STOP_SECONDS: Final = "0.5"
_ROOM: Final = "lobby"  # the topic of the demo page
_SAMPLE_FUNCTION: Final = "sample_agent"
_SAMPLE_TARGET: Final = "hub.producer.sample:app"


class DevApp(msgspec.Struct, frozen=True):
    """The application's own functions: the target of --app, and the settings of their upstreams."""

    target: str
    upstreams: dict[str, dict[str, Any]]


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `hub dev`, and what it needs from the settings.

    data: the data directory; None means a temporary one.
    upstreams: the names of the upstreams in the settings. presence_topics: the setting. app: the
    functions of --app. reload: whether a changed file reloads them. push: the table [push].
    """

    port: int
    internal_port: int
    data: Path | None
    workers: int
    tokens_per_second: float
    config: Path | None
    upstreams: Sequence[str]
    default_upstream: str | None
    presence_topics: Sequence[str] = ()
    app: DevApp | None = None
    reload: bool = False
    push: Push = Push()

    @property
    def chosen_upstream(self) -> str:
        """The default upstream: the first function of --app, else the default one of the settings,
        else the first of them, else the sample function.
        """
        if self.app is not None:
            return next(iter(self.app.upstreams))
        return self.default_upstream or next(iter(self.upstreams), _SAMPLE_FUNCTION)

    @property
    def has_sample(self) -> bool:
        """Whether the sample function answers, because nothing else is configured."""
        return self.app is None and not self.upstreams and self.default_upstream is None

    @property
    def functions(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings of the upstreams that `hub dev` adds for functions, by name."""
        if self.has_sample:
            return {_SAMPLE_FUNCTION: {"kind": "function", "target": _SAMPLE_TARGET}}
        return {} if self.app is None else self.app.upstreams

    def describe_llm(self, simulated_url: str) -> str:
        """Return which LLM answers requests that name none, why, and how to choose another one."""
        simulated = f"simulated, {simulated_url}"
        if self.app is not None:
            functions = ", ".join(self.app.upstreams)
            return f"{functions} of {self.app.target}, your own code (and {simulated})"
        if self.has_sample:
            return f"{_SAMPLE_FUNCTION}, a built-in function without an LLM (and {simulated})"
        if self.chosen_upstream == SIMULATED_UPSTREAM:
            others = ", ".join(name for name in self.upstreams if name != SIMULATED_UPSTREAM)
            return f"{simulated} (and {others})" if others else simulated
        if self.default_upstream is not None:
            return f"{self.chosen_upstream} (and {simulated})"
        which = "the only one" if len(self.upstreams) == 1 else "the first"
        return (
            f"{self.chosen_upstream}, {which} in the settings (and {simulated});"
            f' default_upstream = "{SIMULATED_UPSTREAM}" selects that one'
        )


class DevSockets(msgspec.Struct, frozen=True):
    """The listening sockets of the node and of the simulated LLM."""

    public: socket.socket
    internal: socket.socket
    upstream: socket.socket


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket listens on."""
    port: int = listener.getsockname()[1]
    return port


@contextmanager
def listening_socket(port: int, flag: str) -> Iterator[socket.socket]:
    """Listen on a port of loopback; 0 chooses a free one. Raise OperatorError when it is in use.

    flag: the option that sets the port, for the error.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OperatorError(f"port {port} is in use; choose another one with {flag}") from error
    with listener:
        yield listener


@contextmanager
def data_directory(chosen: Path | None) -> Iterator[Path]:
    """Create the data directory. A temporary one is deleted at the end of the block."""
    if chosen is not None:
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"cannot create the data directory {chosen}: {error}") from error
        yield chosen.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="hub-dev-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def build_broker(data: Path, *, keep: bool) -> ChildProcess:
    """Build the embedded Valkey. keep: write the data to disk.

    Raise OperatorError when another server uses the data directory.
    """
    _remove_stale_socket(data)
    command = [*embedded_command(data, keep=keep), "--logfile", str(data / VALKEY_LOG)]
    return ChildProcess("valkey", command, {})


def build_children(options: DevOptions, data: Path, sockets: DevSockets) -> list[ChildProcess]:
    """Build the simulated LLM, the node and the workers, in this order: that of dependency."""
    env = _environment(options, data, sockets)
    hub = [sys.executable, "-m", "hub"]
    config = ["--config", str(options.config)] if options.config else []
    public_fd, internal_fd = sockets.public.fileno(), sockets.internal.fileno()
    upstream_fd = sockets.upstream.fileno()
    node = [*hub, "serve", *config]
    node += ["--public-fd", str(public_fd), "--internal-fd", str(internal_fd)]
    node += ["--faults-path", str(data / FAULTS_SOCKET_NAME)]
    upstream = [*hub, "upstream", "--fd", str(upstream_fd)]
    upstream += ["--tokens-per-second", str(options.tokens_per_second)]
    children = [
        ChildProcess("upstream", upstream, env, (upstream_fd,)),
        ChildProcess("node", node, env, (public_fd, internal_fd)),
    ]
    for number in range(1, options.workers + 1):
        name = "worker" if options.workers == 1 else f"worker {number}"
        children.append(ChildProcess(name, [*hub, "worker", *config], env))
    return children


def _environment(options: DevOptions, data: Path, sockets: DevSockets) -> dict[str, str]:
    functions = options.functions
    return {
        **os.environ,
        # As JSON: the name of a variable cannot tell the case of a function's name.
        **({"HUB_UPSTREAMS": msgspec.json.encode(functions).decode()} if functions else {}),
        "HUB_PRODUCERS__SHOW_ERRORS": "true",
        "HUB_PRODUCERS__STOP_TIMEOUT_SECONDS": _FUNCTION_STOP_SECONDS,
        # A proxy of the environment is for real LLMs, not for the simulated one on this machine.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST])),
        "HUB_PUBLIC__HOST": HOST,
        "HUB_PUBLIC__PORT": str(port_of(sockets.public)),
        "HUB_PUBLIC__DEMO_PAGE": "true",
        "HUB_PRESENCE__TOPICS": msgspec.json.encode([*options.presence_topics, _ROOM]).decode(),
        "HUB_INTERNAL__HOST": HOST,
        "HUB_INTERNAL__PORT": str(port_of(sockets.internal)),
        "HUB_REDIS__URL": embedded_url(data),
        "HUB_AUTH__DISABLED": "true",
        "HUB_WORKER__DRAIN_SECONDS": _WORKER_DRAIN_SECONDS,
        "HUB_NODE__DRAIN_SECONDS": _NODE_DRAIN_SECONDS,
        "HUB_UPSTREAMS__SIMULATED__BASE_URL": f"http://{HOST}:{port_of(sockets.upstream)}/v1",
        "HUB_UPSTREAMS__SIMULATED__DEFAULT_MODEL": "simulated-1",
        "HUB_DEFAULT_UPSTREAM": options.chosen_upstream,
        **push_environment(options.push, data),
    }


def _remove_stale_socket(data: Path) -> None:
    """Remove the socket that a killed server left. Raise OperatorError when a server uses it."""
    path = data / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise OperatorError(
        f"another hub dev uses the data directory {data}; choose another one with --data"
    )
