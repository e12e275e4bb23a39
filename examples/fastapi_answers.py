"""A FastAPI backend that holds the stream of its LLM itself, and posts it to the hub.

    scripts/dev
    python3 -m venv shop && shop/bin/pip install fastapi uvicorn httpx
    shop/bin/uvicorn --app-dir examples fastapi_answers:app --port 8000

    curl -X POST 'http://localhost:8000/ask?user=alice' -H 'Content-Type: application/json' \
        -d '{"prompt": "When is my refund here?"}'

Each window of alice shows the answer, such as http://localhost:8080/?user=alice, and can stop it.
In production, set HUB_KEY (an API key with the scope `produce`), and take `user` from your login.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

app = FastAPI()
hub = httpx.AsyncClient(
    base_url=os.environ.get("HUB_URL_OF_BACKENDS", "http://127.0.0.1:8081"),
    headers={"Authorization": f"Bearer {os.environ.get('HUB_KEY', 'none-in-development')}"},
)


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
    fields = {"to": {"user": user}, "producer": "external", "model": "own", "prompt": body.prompt}
    started = (await hub.post("/generations", json=fields)).raise_for_status().json()
    tasks.add_task(post_answer, started["generation"], started["lease"], body.prompt)
    return {"generation": started["generation"]}


async def post_answer(generation: str, lease: str, prompt: str) -> None:
    """Post the parts until the end or a stop. Without posts, the answer fails after 30 s."""
    numbers = itertools.count()

    async def post(type_: str, **fields: Any) -> bool:
        """Post one part. Return False once a user has stopped the answer."""
        part = {"seq": next(numbers), "type": type_, **fields}
        path, headers = f"/generations/{generation}/parts", {"Hub-Lease": lease}
        response = await hub.post(path, json=[part], headers=headers)
        return response.raise_for_status().json()["stop"] is None

    await post("status", text="Asking the LLM")
    try:
        async for text in ask_llm(prompt):
            if not await post("text", text=text):
                return
    except OSError:  # of your LLM
        await post("end", status="failed", code="llm_failed", message="The LLM failed.")
    else:
        await post("end", status="done")
