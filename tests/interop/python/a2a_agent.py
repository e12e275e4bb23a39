# /// script
# requires-python = ">=3.11"
# dependencies = ["a2a-sdk[http-server]>=1.3,<1.4", "uvicorn>=0.38,<1"]
# ///
"""An agent of `a2a-sdk` for the tests of the upstream kind `a2a`, which tells what it has done.

Usage: `a2a_agent.py PORT`. The agent is served at several paths: `/streaming`, `/polling` (without
streaming) and `/rest` (HTTP+JSON). `/counts` has what all of them have done, and
`POST /release?prompt=` lets the gated task with this prompt go on by one step.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import uvicorn
from a2a.helpers import (
    new_data_part,
    new_raw_part,
    new_task_from_user_message,
    new_text_message,
    new_text_part,
    new_url_part,
)
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, TaskState
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

WORDS = 8


class SampleAgent(AgentExecutor):
    """Answers by the first word of the prompt.

    words: an artifact in `WORDS` pieces. gated: the same, each piece after `/release`. parts: text,
    data and a file. message: a message without a task. fail, reject, raise, auth: what they say.
    ask: needs input, and completes with it. replace: an artifact that takes the place of another.
    late: as gated, and the task begins only after one more `/release`.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.contexts: list[str] = []
        self.prompts: list[str] = []
        self.gates: dict[str, asyncio.Semaphore] = {}  # by prompt

    def gate(self, prompt: str) -> asyncio.Semaphore:
        return self.gates.setdefault(prompt, asyncio.Semaphore(0))

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        prompt = context.get_user_input()
        kind = prompt.split(maxsplit=1)[0] if prompt else ""
        self.counts["executed"] += 1
        self.contexts.append(context.context_id)
        self.prompts.append(prompt)
        if kind == "message":
            await event_queue.enqueue_event(
                new_text_message("Hello.", context_id=context.context_id)
            )
            return
        if kind == "late":
            await self.gate(prompt).acquire()
        is_new = context.current_task is None
        if is_new:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await self._work(kind, prompt, updater, is_new=is_new)

    async def _work(self, kind: str, prompt: str, updater: TaskUpdater, *, is_new: bool) -> None:
        await updater.start_work(updater.new_agent_message([new_text_part("Thinking")]))
        if not is_new:
            await updater.add_artifact([new_text_part(f"You said {prompt}.")], artifact_id="a")
            await updater.complete()
        elif kind in ("words", "gated", "late"):
            gate = None if kind == "words" else self.gate(prompt)
            await self._send_words(updater, gate)
            await updater.complete()
        elif kind == "parts":
            await updater.add_artifact(
                [
                    new_text_part("See:"),
                    new_data_part({"rows": 2}),
                    new_url_part("https://example.org/a.pdf", media_type="application/pdf"),
                    new_raw_part(b"abc", media_type="image/png", filename="b.png"),
                ],
                artifact_id="a",
                name="report",
            )
            await updater.add_artifact([new_text_part("Done.")], artifact_id="b")
            await updater.complete()
        elif kind == "replace":
            await updater.add_artifact([new_text_part("wrong")], artifact_id="a")
            await updater.add_artifact([new_text_part("right")], artifact_id="a")
            await updater.complete()
        elif kind == "raise":
            raise ValueError("the agent's bug")
        else:
            states = {
                "fail": TaskState.TASK_STATE_FAILED,
                "reject": TaskState.TASK_STATE_REJECTED,
                "auth": TaskState.TASK_STATE_AUTH_REQUIRED,
                "ask": TaskState.TASK_STATE_INPUT_REQUIRED,
            }
            message = updater.new_agent_message([new_text_part("Which colour?")])
            await updater.update_status(states.get(kind, TaskState.TASK_STATE_COMPLETED), message)

    async def _send_words(self, updater: TaskUpdater, gate: asyncio.Semaphore | None) -> None:
        for n in range(WORDS):
            if gate is not None:
                await gate.acquire()
            await updater.add_artifact(
                [new_text_part(f"w{n} ")],
                artifact_id="a",
                append=n > 0,
                last_chunk=n == WORDS - 1,
            )

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.counts["canceled"] += 1
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def build_card(url: str, binding: str, *, streaming: bool) -> AgentCard:
    interface = AgentInterface(url=url, protocol_binding=binding, protocol_version="1.0")
    return AgentCard(
        name="Sample",
        description="Answers by the first word",
        version="1",
        supported_interfaces=[interface],
        capabilities=AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
    )


def build_app(port: int) -> Starlette:
    agent = SampleAgent()

    def mount(path: str, binding: str, *, streaming: bool = True) -> Mount:
        card = build_card(f"http://127.0.0.1:{port}{path}/", binding, streaming=streaming)
        handler = DefaultRequestHandler(agent, InMemoryTaskStore(), card)
        create = create_jsonrpc_routes if binding == "JSONRPC" else create_rest_routes
        routes = create(handler, "/") if binding == "JSONRPC" else create(handler)
        return Mount(path, routes=[*create_agent_card_routes(card), *routes])

    async def counts(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "executed": agent.counts["executed"],
                "canceled": agent.counts["canceled"],
                "contexts": agent.contexts,
                "prompts": agent.prompts,
            }
        )

    async def release(request: Request) -> JSONResponse:
        agent.gate(request.query_params["prompt"]).release()
        return JSONResponse({})

    return Starlette(
        routes=[
            Route("/counts", counts),
            Route("/release", release, methods=["POST"]),
            mount("/streaming", "JSONRPC"),
            mount("/polling", "JSONRPC", streaming=False),
            mount("/rest", "HTTP+JSON"),
        ]
    )


if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(build_app(port), host="127.0.0.1", port=port, log_level="warning")
