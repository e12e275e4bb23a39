"""An LLM that answers with a thousand pieces of text that breaks what is careless with characters.

OpenAI's chat completions, streamed; what it says is known, so that a client's text can be checked.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

PIECES = 1000
_PAUSE_SECONDS = 0.001
_WORDS = (
    "你好",
    "，世界",
    " 🌅",
    " 👩\u200d👩\u200d👧",
    " e\u0301",
    "\u2028",
    "\u0085",
    "\n\n",
    " data: ",
    "\\",
    '"',
    "\t",
)


def piece(number: int) -> str:
    """One of them."""
    return f"{_WORDS[number % len(_WORDS)]}{number}"


ANSWER = "".join(map(piece, range(PIECES)))
HALF = "".join(map(piece, range(PIECES // 2)))


class WordyLlm:
    """running: how many answers are being streamed."""

    def __init__(self) -> None:
        self.running = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """The answers that wait now go on to their ends."""
        self._released.set()
        self._released = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self.complete)])
        return app

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """The same to every question; one that says `wait` gets half of it until `release`."""
        waits = b"wait" in await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.running += 1
        try:
            for number in range(PIECES):
                await response.write(_chunk({"delta": {"content": piece(number)}}))
                await asyncio.sleep(_PAUSE_SECONDS)
                if waits and number == PIECES // 2 - 1:
                    await self._released.wait()
            await response.write(_chunk({"delta": {}, "finish_reason": "stop"}))
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.running -= 1
        return response


def _chunk(choice: dict[str, object]) -> bytes:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    return b"data: %b\n\n" % json.dumps(chunk).encode()
