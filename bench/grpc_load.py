"""Hold gRPC streams open and count their events: `python -m bench.grpc_load -p PORT -n COUNT`.

It does for gRPC what c/sse_load.c does for the other transports and prints the same JSON line at
its end. Each stream uses its own connection, as separate clients would. A Python client needs more
CPU than the server, so benchmarks report the CPU time of the server process only.
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


class Totals:
    """Counts and delays of the events received on all streams."""

    def __init__(self) -> None:
        self.events = self.bytes = self.gaps = self.dups = 0
        self.delays_ms: list[float] = []

    async def hold(self, port: int, number: int) -> None:
        """Read one stream until the task is cancelled."""
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
            stub = hub_pb2_grpc.HubStub(channel)
            last = -1
            async for message in stub.Connect(hub_pb2.ConnectRequest(user=f"u{number}")):
                now = time.monotonic_ns()
                self.bytes += message.ByteSize()
                self.events += len(message.events)
                for event in message.events:
                    stamp = _STAMP.search(event.data)
                    if stamp is None:
                        continue
                    sent_ns, sequence = int(stamp[1]), int(stamp[2])
                    self.delays_ms.append((now - sent_ns) / 1e6)
                    self.gaps += max(0, sequence - last - 1) if last >= 0 else 0
                    self.dups += sequence <= last
                    last = max(last, sequence)

    def to_json(self) -> str:
        """Return the totals in the format of sse_load."""
        delays = sorted(self.delays_ms) or [0.0]
        quantiles = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
        percentiles = {
            name: delays[int(quantile * (len(delays) - 1))] for name, quantile in quantiles.items()
        }
        counts = {name: getattr(self, name) for name in ("events", "bytes", "gaps", "dups")}
        return json.dumps({**counts, **percentiles})


async def main() -> None:
    """Hold the streams open until SIGTERM, then print the totals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", type=int, dest="port", required=True)
    parser.add_argument("-n", type=int, dest="count", required=True)
    args = parser.parse_args()
    totals, terminated = Totals(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    streams = [asyncio.create_task(totals.hold(args.port, n)) for n in range(args.count)]
    await terminated.wait()
    print(totals.to_json(), flush=True)
    for stream in streams:
        stream.cancel()


if __name__ == "__main__":
    asyncio.run(main())
