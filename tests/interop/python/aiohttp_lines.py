"""aiohttp's client, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from tests.interop.python.story import SseLines, Story, stories

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=20)  # total is 300 s


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, str]]:
    """What the stream says, until it ends."""
    response.raise_for_status()
    lines = SseLines()
    async for line in response.content:
        for event in lines.line(line.decode().removesuffix("\n")):
            yield event


async def listen(asked: Story, session: aiohttp.ClientSession) -> None:
    """The user's stream; by hand, from the last id, when it breaks."""
    while True:
        try:
            url = f"{asked.url}/sse/connect"
            async with session.get(url, headers=asked.resumed()) as response:
                async for event in events(response):
                    if asked.tell(*event):
                        return asked.closed()
            asked.end("over")
        except aiohttp.ClientError as error:
            asked.end(error)
        if not asked.comes_again:
            return None
        await asyncio.sleep(0.1)


async def stop(asked: Story, session: aiohttp.ClientSession) -> None:
    """An answer: hung up on, or stopped and read to its end."""
    url = f"{asked.url}/generations"
    async with session.post(url, json=asked.body, headers=asked.headers) as response:
        async for event in events(response):
            if not asked.tell(*event):
                continue
            if asked.scenario == "hangup":
                return asked.closed()
            generation = asked.url + response.headers["Location"]
            async with session.delete(generation, headers=asked.headers) as answer:
                answer.raise_for_status()
    return asked.end("over")


async def main() -> None:
    """The scenarios of the command line."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for story in stories():
            await (listen if story.listens else stop)(story, session)


if __name__ == "__main__":
    asyncio.run(main())
