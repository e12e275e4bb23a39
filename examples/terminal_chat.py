"""A chat in the terminal: answers as they grow, Ctrl-C stops one, Ctrl-D ends.

    hub dev
    python examples/terminal_chat.py alice

The conversation is kept here and sent whole with each question: the hub keeps none. What is asked
here also appears in alice's other windows, for instance http://localhost:8080/?user=alice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from hub.client import AnswerFailed, AnswerRewritten, HubClient

HUB = os.environ.get("HUB_CLIENT__URL", "http://127.0.0.1:8080")


async def answer(hub: HubClient, conversation: list[dict[str, str]]) -> None:
    """Asks, prints, and adds what was said to the conversation."""
    asked = await hub.ask(conversation)
    loop = asyncio.get_running_loop()
    stops = set[asyncio.Task[object]]()
    loop.add_signal_handler(signal.SIGINT, lambda: stops.add(loop.create_task(asked.stop())))
    try:
        async for text in asked:
            print(text, end="", flush=True)
    except AnswerRewritten:  # a worker was lost, or the LLM took back what it had said
        print("\n[anew]", await asked.text(), end="")
    except AnswerFailed as failure:
        print(f"\n[{failure.code}: {failure}]", end="")
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    print("\n[stopped]" if asked.status == "stopped" else "")
    conversation.append({"role": "assistant", "content": asked.text_so_far})


async def main(user: str) -> None:
    """Question by question. With tokens: HubClient(HUB, token) in place of user=."""
    conversation: list[dict[str, str]] = []
    async with HubClient(HUB, user=user) as hub:
        while True:
            try:
                question = await asyncio.to_thread(input, "> ")
            except EOFError:
                return
            if question:
                conversation.append({"role": "user", "content": question})
                await answer(hub, conversation)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "alice"))
    except KeyboardInterrupt:
        sys.exit(130)
