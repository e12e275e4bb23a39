"""Post the parts of answers at the pace of an LLM, as a process of the application does.

Usage: python -m bench.external_producer URL FORM USERS PARTS RATE

Each of the USERS (u0, u1, …) gets an answer of PARTS texts, RATE a second. FORM is `client`, the
Python client, or `stream`: newline-delimited JSON, one request for each answer, by the HTTP library
that the client uses. The program prints `ready`, waits for a line, and posts; it ends with its
input. The texts are those of bench.producer_app.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import uvloop

from hub.client import HubClient


def main() -> None:
    """Parse the command line and post."""
    url, form = sys.argv[1:3]
    users, parts, rate = map(int, sys.argv[3:6])
    run = {"client": _write, "stream": _stream}[form]
    uvloop.run(run(url, users, parts, rate))


async def _texts(parts: int, rate: int) -> AsyncIterator[str]:
    due = time.monotonic()
    for n in range(parts):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield f"T={time.monotonic_ns()};N={n};"
        due += 1 / rate


async def _run(write: Callable[[int], Awaitable[None]], users: int) -> None:
    """Write the answers of all users after a line of the input."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*map(write, range(users)))
    await asyncio.to_thread(sys.stdin.read)


async def _write(url: str, users: int, parts: int, rate: int) -> None:
    async with HubClient(url, internal_url=url) as client:

        async def write(user: int) -> None:
            async with client.generation(user=f"u{user}") as answer:
                async for text in _texts(parts, rate):
                    await answer.write(text)

        await _run(write, users)


async def _stream(url: str, users: int, parts: int, rate: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:

        async def lines() -> AsyncIterator[bytes]:
            seq = 0
            async for text in _texts(parts, rate):
                yield json.dumps({"seq": seq, "type": "text", "text": text}).encode() + b"\n"
                seq += 1
            yield json.dumps({"seq": seq, "type": "end"}).encode() + b"\n"

        async def stream(user: int) -> None:
            body = {"to": {"user": f"u{user}"}, "producer": "external"}
            async with session.post("/generations", json=body) as response:
                started = await response.json()
            headers = {"Hub-Lease": started["lease"], "Content-Type": "application/x-ndjson"}
            path = f"/generations/{started['generation']}/parts"
            async with session.post(path, data=lines(), headers=headers) as response:
                response.raise_for_status()

        await _run(stream, users)


if __name__ == "__main__":
    main()
