"""The commands that run processes: dev, serve, worker and upstream."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.options import AppOption, ConfigOption, given_flags, load
from hub.cli.signals import on_termination
from hub.errors import OperatorError

if TYPE_CHECKING:
    from hub.settings import Loaded


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(dev)
    app.command()(serve)
    app.command()(worker)
    app.command()(upstream)


def dev(
    port: Annotated[int, typer.Option(help="The port of the public listener.")] = 8080,
    internal_port: Annotated[int, typer.Option(help="The port of the internal listener.")] = 8081,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Keep the data in this directory. Without it, the data is deleted at the end.",
            metavar="DIR",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="The number of worker processes.")] = 1,
    tokens_per_second: Annotated[
        float, typer.Option(min=0.1, help="The speed of the simulated LLM.")
    ] = 30.0,
    app: AppOption = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Load the functions of --app again whenever a Python file of this folder changes.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Run a complete hub on this machine, for development.

    It starts a node, a worker, an embedded Valkey, a simulated LLM and the demo page. All of them
    listen on loopback only. Without any configured upstream, a sample function answers. With --app,
    your own functions answer: docs/guides/functions.md.

    Example: hub dev --port 18080 --internal-port 18081
    """
    from hub import logs
    from hub.cli.functions import load_dev_app
    from hub.cli.supervisor.dev import run_dev
    from hub.cli.supervisor.dev_processes import DevOptions

    if reload and app is None:
        raise OperatorError("--reload needs --app")
    loaded = load(config, {})
    settings = loaded.settings
    if ignored := ignored_auth(loaded):
        print(f"hub: warning: {ignored}", file=sys.stderr, flush=True)
    logs.configure(settings.logs.level, settings.logs.format, "dev")
    options = DevOptions(
        port=port,
        internal_port=internal_port,
        data=data,
        workers=workers,
        tokens_per_second=tokens_per_second,
        config=config,
        upstreams=list(settings.upstreams),
        default_upstream=settings.default_upstream,
        presence_topics=settings.presence.topics,
        app=None if app is None else load_dev_app(settings, app),
        reload=reload,
        push=settings.push,
    )
    asyncio.run(run_dev(options))


def serve(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="The port of the public listener.")] = None,
    internal_port: Annotated[
        int | None, typer.Option(help="The port of the internal listener.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="The number of processes that share the ports; use one for each core."
        ),
    ] = 1,
    share_ports: Annotated[bool, typer.Option("--share-ports", hidden=True)] = False,
    public_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    internal_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    faults_path: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a node: it holds the connections of users.

    It also accepts publishes from backends. It needs Redis or Valkey, and keys.

    Example: HUB_REDIS__URL=redis://10.0.0.5 hub serve --config config/production.toml
    """
    flags = {"public.port": port, "internal.port": internal_port}
    settings = _load_production_settings(config, flags, "node")
    if workers > 1:
        from hub.cli.supervisor.multiprocess import run_multiprocess

        options = {"--config": config, "--port": port, "--internal-port": internal_port}
        words = [str(word) for option in given_flags(options).items() for word in option]
        raise typer.Exit(asyncio.run(run_multiprocess(settings, workers, words)))
    from hub.wiring.node import Sockets, run_node

    sockets = Sockets(public_fd, internal_fd, share_ports, faults_path)
    run_until_signal(lambda shutdown: run_node(settings, shutdown, sockets))


def worker(
    config: ConfigOption = None,
    queues: Annotated[
        str | None, typer.Option(help="The queues to take requests from.", metavar="A,B")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port of /healthz and /metrics. Without it, there is none."),
    ] = None,
    app: AppOption = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="The number of processes that run functions.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="A name of the code of the functions, such as v2.")
    ] = None,
) -> None:
    """Run a worker: it relays LLMs and runs your functions.

    It takes generation requests from the queue and publishes the answers while they stream. With
    --app, it refuses to start unless the settings declare each function of the app.

    Example: HUB_UPSTREAMS__MAIN__BASE_URL=http://localhost:8000/v1 hub worker
    """
    from hub.cli.functions import check_declared
    from hub.wiring.worker import run_worker

    flags = {
        "worker.queues": queues and queues.split(","),
        "worker.port": port,
        "producers.processes": processes,
        "worker.version": version,
    }
    settings = _load_production_settings(config, flags, "worker")
    if app is not None:
        check_declared(settings, app)
    run_until_signal(lambda shutdown: run_worker(settings, shutdown))


def upstream(
    port: Annotated[int, typer.Option(help="The port to listen on; 0 chooses a free one.")] = 8082,
    tokens_per_second: Annotated[
        float, typer.Option(min=0.1, help="The speed of the answers.")
    ] = 30.0,
    first_token_seconds: Annotated[
        float, typer.Option(min=0, help="The delay before the first token.")
    ] = 0.2,
    network_chunk_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Split the response into chunks of this size.", metavar="N"),
    ] = None,
    fault: Annotated[
        str | None,
        typer.Option(
            help="The fault to simulate: refuse, flaky:N, busy:N, status:CODE, hang, stall:N, "
            "cut:N, truncate:N, error:N, garbage:N, line:BYTES, endless, forget or no-prefill."
        ),
    ] = None,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the simulated LLM alone.

    It serves prepared answers over real HTTP: OpenAI's chat and Responses, Anthropic's Messages,
    Ollama, DashScope and others, each at its path.

    Example: hub upstream --port 8082 --tokens-per-second 50 --fault cut:20
    """
    from hub import logs
    from hub.upstreams.simulated.server import Simulation
    from hub.wiring.simulated import run_simulated

    logs.configure("info", "auto", "upstream")
    simulation = Simulation(
        tokens_per_second=tokens_per_second,
        first_token_seconds=first_token_seconds,
        network_chunk_bytes=network_chunk_bytes,
        fault=fault,
    )

    def print_url(url: str) -> None:
        if fd is None:
            print(f"simulated LLM at {url}", flush=True)

    run_until_signal(lambda shutdown: run_simulated(simulation, shutdown, port, fd, print_url))


def ignored_auth(loaded: Loaded) -> str:
    """Return the sentence about settings of [auth], which `hub dev` ignores; empty without any."""
    sources = {
        origin
        for setting, origin in loaded.origins.items()
        if setting.startswith("auth.") and setting != "auth.disabled"
    }
    if not sources:
        return ""
    return (
        f"hub dev ignores [auth] ({', '.join(sorted(sources))}): it requires no token and accepts "
        "every user; `hub serve` checks tokens"
    )


def _load_production_settings(config: Path | None, flags: dict[str, Any], process: str) -> Any:
    """Load the settings, refuse an incomplete configuration, and configure the log."""
    from hub import logs
    from hub.settings import check_for_production

    settings = load(config, given_flags(flags)).settings
    check_for_production(settings)
    logs.configure(settings.logs.level, settings.logs.format, process)
    return settings


def run_until_signal(main: Any) -> None:
    """Run `main(shutdown)` on uvloop, or on the loop of asyncio where there is no uvloop.

    SIGINT and SIGTERM request the shutdown; a second one forces it.
    """
    from hub.wiring.shutdown import Shutdown

    try:
        from uvloop import run
    except ImportError:  # there is none for Windows and PyPy
        from asyncio import run  # type: ignore[assignment]  # without loop_factory

    # Imported modules stay in memory, and the objects of a connection have no reference cycles.
    # With the default threshold of 700 objects, garbage collection took 6 % of the time in which
    # ten thousand clients reconnect.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

    async def run_main() -> None:
        shutdown = Shutdown()
        on_termination(shutdown.signal)
        await main(shutdown)

    run(run_main())
