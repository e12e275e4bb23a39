# /// script
# requires-python = ">=3.11"
# dependencies = ["a2a-sdk[http-server]>=0.3.26,<0.4", "uvicorn>=0.38,<1"]
# ///
"""An agent of the last `a2a-sdk` that speaks only version 0.3, for the upstream kind `a2a`.

Usage: `a2a_agent_03.py PORT`. `/counts` and `/release` are those of a2a_agent.py.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, DataPart, Part, TextPart
from a2a.utils import new_task
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WORDS = 8


class SampleAgent(AgentExecutor):
    """Answers with an artifact in `WORDS` pieces, and JSON. gated: each piece after `/release`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Semaphore] = {}  # by prompt

    def gate(self, prompt: str) -> asyncio.Semaphore:
        return self.gates.setdefault(prompt, asyncio.Semaphore(0))

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.counts["executed"] += 1
        await event_queue.enqueue_event(new_task(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        text = Part(root=TextPart(text="Thinking"))
        await updater.start_work(updater.new_agent_message([text]))
        for n in range(WORDS):
            if (prompt := context.get_user_input()).startswith("gated"):
                await self.gate(prompt).acquire()
            part = Part(root=TextPart(text=f"w{n} "))
            await updater.add_artifact(
                [part], artifact_id="a", append=n > 0, last_chunk=n == WORDS - 1
            )
        await updater.add_artifact([Part(root=DataPart(data={"rows": 2}))], artifact_id="b")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.counts["canceled"] += 1
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def main(port: int) -> None:
    agent = SampleAgent()
    card = AgentCard(
        name="Sample",
        description="Answers with words",
        version="1",
        url=f"http://127.0.0.1:{port}/",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[],
    )
    handler = DefaultRequestHandler(agent, InMemoryTaskStore())
    app = A2AStarletteApplication(card, handler).build()

    async def counts(request: Request) -> JSONResponse:
        return JSONResponse({name: agent.counts[name] for name in ("executed", "canceled")})

    async def release(request: Request) -> JSONResponse:
        agent.gate(request.query_params["prompt"]).release()
        return JSONResponse({})

    app.router.routes += [
        Route("/counts", counts),
        Route("/release", release, methods=["POST"]),
    ]
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
