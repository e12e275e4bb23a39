"""A simulated LLM whose answer has hundreds of chunks with characters that clients often break.

It streams OpenAI chat completions. The answer is constant, so that tests can compare the text.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

CHUNKS = 300  # several times `CUT_BYTES` of tests/interop/test_answers.py in each protocol
_PAUSE_SECONDS = 0.003
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


def chunk_text(number: int) -> str:
    """Return the text of a chunk."""
    return f"{_WORDS[number % len(_WORDS)]}{number}"


ANSWER = "".join(map(chunk_text, range(CHUNKS)))
HALF = "".join(map(chunk_text, range(CHUNKS // 2)))


class WordyLlm:
    """running: the number of answers that are being streamed."""

    def __init__(self) -> None:
        self.running = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """Continue the answers that are waiting now, or will after their first half."""
        self._released.set()
        self._released = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self.complete)])
        return app

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Stream the answer; if the prompt contains `wait`, stop in the middle until `release`."""
        released = self._released  # a client may have the first half before the wait begins
        waits = b"wait" in await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.running += 1
        try:
            for number in range(CHUNKS):
                await response.write(_chunk({"delta": {"content": chunk_text(number)}}))
                await asyncio.sleep(_PAUSE_SECONDS)
                if waits and number == CHUNKS // 2 - 1:
                    await released.wait()
            await response.write(_chunk({"delta": {}, "finish_reason": "stop"}))
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.running -= 1
        return response


def _chunk(choice: dict[str, object]) -> bytes:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    return b"data: %b\n\n" % json.dumps(chunk).encode()
