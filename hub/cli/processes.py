"""The commands that run processes: dev, serve, worker, upstream."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The settings file.", metavar="FILE")
]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(dev)
    app.command()(serve)
    app.command()(worker)
    app.command()(upstream)


def dev(
    port: Annotated[int, typer.Option(help="The public port.")] = 8080,
    internal_port: Annotated[int, typer.Option(help="The internal port.")] = 8081,
    data: Annotated[
        Path | None, typer.Option(help="Keep the data in this folder.", metavar="DIR")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many workers relay answers.")] = 1,
    tokens_per_second: Annotated[
        float, typer.Option(min=0.1, help="The speed of the simulated LLM.")
    ] = 30.0,
    config: ConfigOption = None,
) -> None:
    """The whole hub here, in one command.

    Node, worker, an embedded Valkey, a simulated LLM and the demo page, on loopback only.

    Example: hub dev --port 18080 --internal-port 18081
    """
    from hub import logs
    from hub.cli.dev import DevOptions, run_dev
    from hub.settings import load_settings

    settings = load_settings(config, {}).settings
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
    )
    asyncio.run(run_dev(options, lambda text: print(text, flush=True)))


def serve(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="The public port.")] = None,
    internal_port: Annotated[int | None, typer.Option(help="The internal port.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="How many processes share the ports; one for each core.")
    ] = 1,
    share_ports: Annotated[bool, typer.Option("--share-ports", hidden=True)] = False,
    public_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    internal_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """A node: connections and publishing.

    Holds the users' streams and takes what backends publish. Needs a Redis or Valkey and keys.

    Example: HUB_REDIS__URL=redis://10.0.0.5 hub serve --config config/production.toml
    """
    settings = _production(config, {"public.port": port, "internal.port": internal_port}, "node")
    if workers > 1:
        from hub.cli.multiprocess import run_multiprocess

        flags = {"--config": config, "--port": port, "--internal-port": internal_port}
        options = [str(w) for flag in flags.items() if flag[1] is not None for w in flag]
        raise typer.Exit(asyncio.run(run_multiprocess(settings, workers, options)))
    from hub.wiring.node import Sockets, run_node

    sockets = Sockets(public_fd, internal_fd, share_ports)
    _run(lambda stop: run_node(settings, stop, sockets))


def worker(
    config: ConfigOption = None,
    queues: Annotated[
        str | None, typer.Option(help="Whose questions to take.", metavar="A,B")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port of /healthz and /metrics; none by default.")
    ] = None,
) -> None:
    """A worker: relays the LLMs' answers.

    Takes questions from the queue and publishes the answers as they stream.

    Example: HUB_UPSTREAMS__MAIN__BASE_URL=http://localhost:8000/v1 hub worker
    """
    from hub.wiring.worker import run_worker

    flags = {"worker.queues": queues and queues.split(","), "worker.port": port}
    given = {key: value for key, value in flags.items() if value is not None}
    settings = _production(config, given, "worker")
    _run(lambda stop: run_worker(settings, stop))


def upstream(
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8082,
    tokens_per_second: Annotated[float, typer.Option(min=0.1, help="The speed.")] = 30.0,
    first_token_seconds: Annotated[float, typer.Option(min=0, help="The first pause.")] = 0.2,
    network_chunk_bytes: Annotated[
        int | None, typer.Option(min=1, help="Cut the bytes at every so many.", metavar="N")
    ] = None,
    fault: Annotated[
        str | None,
        typer.Option(
            help="refuse, flaky:N, busy:N, status:CODE, hang, stall:N, cut:N, truncate:N, error:N, "
            "garbage:N, line:BYTES or endless."
        ),
    ] = None,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """The simulated LLM alone.

    Real HTTP, with answers known by heart: OpenAI's chat and Responses, Anthropic's Messages,
    Ollama, DashScope and others, each at its path.

    Example: hub upstream --port 8082 --tokens-per-second 50 --fault cut:20
    """
    from hub import logs
    from hub.upstreams.simulated import Simulation
    from hub.wiring.simulated import run_simulated

    logs.configure("info", "auto", "upstream")
    simulation = Simulation(
        tokens_per_second=tokens_per_second,
        first_token_seconds=first_token_seconds,
        network_chunk_bytes=network_chunk_bytes,
        fault=fault,
    )

    def say(url: str) -> None:
        if fd is None:
            print(f"simulated LLM at {url}", flush=True)

    _run(lambda stop: run_simulated(simulation, stop, port, fd, say))


def _production(config: Path | None, flags: dict[str, Any], process: str) -> Any:
    """The settings of a process that must not run half-configured, with its log set up."""
    from hub import logs
    from hub.settings import check_for_production, load_settings

    given = {key: value for key, value in flags.items() if value is not None}
    settings = load_settings(config, given).settings
    check_for_production(settings)
    logs.configure(settings.logs.level, settings.logs.format, process)
    return settings


def _run(main: Any) -> None:
    """Runs on uvloop until SIGINT or SIGTERM, of which `main` is told; a second one hurries it."""
    import uvloop

    from hub.wiring.shutdown import Shutdown

    # What was imported stays for good, and a connection's objects have no cycles: looking through
    # all of them at every 700th new one took 6 % of the time of ten thousand clients that return.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

    async def until_signalled() -> None:
        stop = Shutdown()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.signal)
        await main(stop)

    uvloop.run(until_signalled())
