"""`hub dev`: a complete hub on one machine, as separate processes under one supervisor.

Invariants:
1. Node and workers start beside the broker: importing takes them longer than the broker takes. The
   simulated LLM starts when the node is ready; its listening socket queues what comes before. The
   child processes stop in the reverse order of dependency, each with a timeout. All of them have
   exited after 3 s at most, and the kernel kills them when the supervisor is killed.
2. A child process that exits is restarted. When its configuration is wrong (exit code 2), or when
   the broker exits, everything stops.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from hub.backends.embedded import SOCKET_NAME
from hub.cli.signals import on_termination
from hub.cli.supervisor.child_process import ChildProcess
from hub.cli.supervisor.dev_faults import DevFaults
from hub.cli.supervisor.dev_processes import (
    HOST,
    VALKEY_LOG,
    DevOptions,
    DevSockets,
    build_broker,
    build_children,
    data_directory,
    listening_socket,
    port_of,
)
from hub.cli.supervisor.dev_reload import reload_on_change
from hub.cli.supervisor.dev_state import DevState, ready_text, write_dev_state
from hub.errors import BrokerUnavailable, OperatorError

_START_TIMEOUT_SECONDS: Final = 60.0  # a busy machine takes long to import everything
CHILDREN_STOP_SECONDS: Final = 2.0
UPSTREAM_STOP_SECONDS: Final = 0.3
BROKER_STOP_SECONDS: Final = 0.5


async def run_dev(options: DevOptions) -> None:
    """Run until SIGINT or SIGTERM. Raise OperatorError and BrokerUnavailable."""
    if sys.platform == "win32":
        raise OperatorError("`hub dev` does not run on Windows: start it in WSL, or use Docker")
    stop_requested = asyncio.Event()
    on_termination(stop_requested.set)
    async with AsyncExitStack() as stack:
        sockets = DevSockets(
            public=stack.enter_context(listening_socket(options.port, "--port")),
            internal=stack.enter_context(
                listening_socket(options.internal_port, "--internal-port")
            ),
            upstream=stack.enter_context(listening_socket(0, "--port")),
        )
        data = stack.enter_context(data_directory(options.data))
        broker = build_broker(data, keep=options.data is not None)
        children = build_children(options, data, sockets)
        upstream, *others = children
        await stack.enter_async_context(DevFaults(children).serve(data))
        try:
            await broker.start()
            for child in others:
                await child.start()
            await _wait_for_broker(data, broker)
            restarters = [asyncio.create_task(child.keep_running()) for child in others]
            restarters.append(asyncio.create_task(_watch_broker(broker)))
            if options.reload:
                restarters.append(asyncio.create_task(reload_on_change(Path.cwd(), children)))
            stopping = asyncio.create_task(stop_requested.wait())
            ready = asyncio.create_task(_wait_until_ready(port_of(sockets.internal)))
            await _wait_for_first([stopping, ready, *restarters])
            if not stop_requested.is_set():
                await upstream.start()
                restarters.append(asyncio.create_task(upstream.keep_running()))
                state = DevState(
                    url=f"http://{HOST}:{port_of(sockets.public)}",
                    internal_url=f"http://{HOST}:{port_of(sockets.internal)}",
                    pid=os.getpid(),
                )
                stack.enter_context(write_dev_state(state))
                _print_ready(state, options, data, port_of(sockets.upstream))
                await _wait_for_first([stopping, *restarters])
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.gather(*(child.stop(CHILDREN_STOP_SECONDS) for child in others))
            await upstream.stop(UPSTREAM_STOP_SECONDS)
            await broker.stop(BROKER_STOP_SECONDS)
    print("hub dev has stopped", flush=True)


def _print_ready(state: DevState, options: DevOptions, data: Path, upstream_port: int) -> None:
    llm = options.describe_llm(f"http://{HOST}:{upstream_port}/v1")
    kept = "kept" if options.data else "deleted when hub dev stops"
    print(ready_text(state, llm=llm, data=f"{data} ({kept})"), flush=True)


async def _watch_broker(broker: ChildProcess) -> None:
    assert broker.process is not None
    code = await broker.process.wait()
    raise BrokerUnavailable(f"the embedded Valkey exited with code {code}")


async def _wait_for_first(
    tasks: Sequence[asyncio.Task[bool] | asyncio.Task[None]],
) -> None:
    """Return when one of the tasks is done. Raise its exception."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _wait_for_broker(data: Path, broker: ChildProcess) -> None:
    """Return when the embedded Valkey accepts connections. Raise BrokerUnavailable."""
    assert broker.process is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT_SECONDS):
            while broker.process.returncode is None:
                try:
                    _, writer = await asyncio.open_unix_connection(str(data / SOCKET_NAME))
                    writer.close()
                    return
                except OSError:
                    await asyncio.sleep(0.01)  # a file system does not announce a new socket
    except TimeoutError:
        pass
    log = data / VALKEY_LOG
    last_line = log.read_text().strip().splitlines()[-1:] if log.exists() else []
    reason = " ".join(last_line) or "its log is empty"
    raise BrokerUnavailable(f"the embedded Valkey does not start: {reason}")


async def _wait_until_ready(port: int) -> None:
    """Return when the node is ready. The kernel queues the first request until the node runs."""
    try:
        async with asyncio.timeout(_START_TIMEOUT_SECONDS):
            while not await _is_ready(port):  # noqa: ASYNC110 - another process's state
                # /readyz answers at once also while the node is not ready, so the wait is a poll.
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise OperatorError(f"the node is not ready after {_START_TIMEOUT_SECONDS:g} s") from error


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = await reader.read(64)
        writer.close()
    except OSError:
        return False
    return head.startswith(b"HTTP/1.1 200")
