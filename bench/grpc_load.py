"""Streams over gRPC, held open and counted: `python -m bench.grpc_load -p PORT -n COUNT`.

What sse_load.c is for the other transports, with the same ledger as its last line. Each stream has
a connection of its own, as each client has. A client in Python costs more than the server that it
measures: the processor time that counts is the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import time
from typing import Final

import grpc.aio

from hub.grpc import hub_pb2, hub_pb2_grpc

_STAMP: Final = re.compile(r"T=(\d+);N=(\d+);")


class Ledger:
    """What came over all streams."""

    def __init__(self) -> None:
        self.events = self.bytes = self.gaps = self.dups = 0
        self.delays_ms: list[float] = []

    async def hold(self, port: int, number: int) -> None:
        """One stream, for ever."""
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
            stub = hub_pb2_grpc.HubStub(channel)
            last = -1
            async for message in stub.Connect(hub_pb2.ConnectRequest(user=f"u{number}")):
                now = time.monotonic_ns()
                self.bytes += message.ByteSize()
                self.events += len(message.events)
                for event in message.events:
                    found = _STAMP.search(event.data)
                    if found is None:
                        continue
                    at, count = int(found[1]), int(found[2])
                    self.delays_ms.append((now - at) / 1e6)
                    self.gaps += max(0, count - last - 1) if last >= 0 else 0
                    self.dups += count <= last
                    last = max(last, count)

    def line(self) -> str:
        """As sse_load writes it."""
        delays = sorted(self.delays_ms) or [0.0]
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
        found = {name: delays[int(share * (len(delays) - 1))] for name, share in shares.items()}
        counts = {name: getattr(self, name) for name in ("events", "bytes", "gaps", "dups")}
        return json.dumps({**counts, **found})


async def main() -> None:
    """Holds until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", type=int, dest="port", required=True)
    parser.add_argument("-n", type=int, dest="count", required=True)
    given = parser.parse_args()
    ledger, over = Ledger(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    streams = [asyncio.create_task(ledger.hold(given.port, n)) for n in range(given.count)]
    await over.wait()
    print(ledger.line(), flush=True)
    for stream in streams:
        stream.cancel()


if __name__ == "__main__":
    asyncio.run(main())
