"""A FastAPI backend that holds the stream of its LLM itself, and writes it to the hub.

    scripts/dev
    python3 -m venv shop && shop/bin/pip install ./clients/python fastapi uvicorn
    shop/bin/uvicorn --app-dir examples fastapi_answers:app --port 8000

    curl -X POST 'http://localhost:8000/ask?user=alice' -H 'Content-Type: application/json' \
        -d '{"prompt": "When is my refund here?"}'

Each window of alice shows the answer, such as http://localhost:8080/?user=alice, and can stop it.
In production, set HUB_KEY (an API key with the scope `produce`), and take `user` from your login.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

from hub_client import GenerationStopped, HubClient, LeaseLost, ProducedAnswer

INTERNAL = os.environ.get("HUB_URL_OF_BACKENDS", "http://127.0.0.1:8081")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client open while the application runs."""
    async with HubClient(
        INTERNAL, internal_url=INTERNAL, key=os.environ.get("HUB_KEY")
    ) as app.state.hub:
        yield


app = FastAPI(lifespan=lifespan)


class AskBody(BaseModel):
    prompt: str


async def ask_llm(prompt: str) -> AsyncIterator[str]:
    """Yield the text of your LLM as it arrives."""
    for word in f"You asked: {prompt} This text comes from the backend itself.".split(" "):
        yield f"{word} "
        await asyncio.sleep(0.1)


@app.post("/ask", status_code=202)
async def ask(body: AskBody, user: str, tasks: BackgroundTasks) -> dict[str, str]:
    """Begin the answer, and return its id; the text follows in the user's stream."""
    block = AsyncExitStack()
    answer = await block.enter_async_context(
        app.state.hub.generation(user=user, model="own", messages=body.prompt)
    )
    tasks.add_task(write_answer, block, answer, body.prompt)
    return {"generation": answer.generation}


async def write_answer(block: AsyncExitStack, answer: ProducedAnswer, prompt: str) -> None:
    """Write the parts until the end or a stop. Leaving `block` ends the answer."""
    try:
        async with block:
            await answer.write({"type": "status", "text": "Asking the LLM"})
            try:
                async for text in ask_llm(prompt):
                    await answer.write(text)
            except OSError:  # of your LLM
                await answer.fail("llm_failed", "The LLM failed.", retryable=True)
    except (GenerationStopped, LeaseLost):
        pass  # a user has stopped the answer, which has ended
