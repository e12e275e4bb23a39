"""The simulated LLM as a process."""

from __future__ import annotations

from collections.abc import Callable

from hub.http.server import ListenAddress, listen
from hub.upstreams.simulated.server import SimulatedUpstream, Simulation
from hub.wiring.shutdown import Shutdown


async def run_simulated(
    simulation: Simulation,
    stop: Shutdown,
    port: int,
    fd: int | None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the simulated LLM until `stop` is requested; `on_ready` gets its base URL."""
    async with listen(
        SimulatedUpstream(simulation).app(),
        ListenAddress("127.0.0.1", port, "--port", fd),
        cancel_handlers=True,
        shutdown_timeout_seconds=0.1,
    ) as bound_port:
        on_ready(f"http://127.0.0.1:{bound_port}/v1")
        await stop.requested.wait()
