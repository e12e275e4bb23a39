"""The client of aiohttp, reading lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from tests.interop.python.scenario import Scenario, SseLines, parse_scenarios

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=20)  # default total: 300 s


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, str]]:
    """Yield the events of a stream."""
    response.raise_for_status()
    lines = SseLines()
    async for line in response.content:
        for event in lines.line(line.decode().removesuffix("\n")):
            yield event


async def listen(scenario: Scenario, session: aiohttp.ClientSession) -> None:
    """Read the stream of the user; reconnect with the last id if the scenario requires it."""
    while True:
        try:
            url = f"{scenario.url}/sse/connect"
            async with session.get(url, headers=scenario.resume_headers()) as response:
                async for event in events(response):
                    if scenario.report(*event):
                        return scenario.report_closed()
            scenario.report_end("over")
        except aiohttp.ClientError as error:
            scenario.report_end(error)
        if not scenario.reconnects:
            return None
        await asyncio.sleep(0.1)


async def stop(scenario: Scenario, session: aiohttp.ClientSession) -> None:
    """Start an answer; disconnect from it, or stop it and read to its end."""
    url = f"{scenario.url}/generations"
    async with session.post(url, json=scenario.body, headers=scenario.headers) as response:
        async for event in events(response):
            if not scenario.report(*event):
                continue
            if scenario.name == "hangup":
                return scenario.report_closed()
            generation = scenario.url + response.headers["Location"]
            async with session.delete(generation, headers=scenario.headers) as answer:
                answer.raise_for_status()
    return scenario.report_end("over")


async def main() -> None:
    """Run the scenarios of the command line."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for scenario in parse_scenarios():
            await (listen if scenario.listens else stop)(scenario, session)


if __name__ == "__main__":
    asyncio.run(main())
