"""A chat in the terminal. Ctrl-C stops an answer, Ctrl-D ends the chat.

    hub dev
    python examples/terminal_chat.py alice

The program keeps the conversation and sends all of it with each prompt, because the hub stores no
conversations. The answers also appear in alice's other windows, for example
http://localhost:8080/?user=alice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from hub_client import AnswerFailed, AnswerRewritten, HubClient

HUB = os.environ.get("HUB_CLIENT__URL", "http://127.0.0.1:8080")


async def print_answer(hub: HubClient, conversation: list[dict[str, str]]) -> None:
    """Ask, print the answer, and add it to the conversation."""
    answer = await hub.ask(conversation)
    loop = asyncio.get_running_loop()
    stop_tasks = set[asyncio.Task[object]]()
    loop.add_signal_handler(signal.SIGINT, lambda: stop_tasks.add(loop.create_task(answer.stop())))
    try:
        async for text in answer:
            print(text, end="", flush=True)
    except AnswerRewritten:  # a worker was lost, or the LLM rewrote its answer
        print("\n[rewritten]", await answer.text(), end="")
    except AnswerFailed as failure:
        print(f"\n[{failure.code}: {failure}]", end="")
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    print("\n[stopped]" if answer.status == "stopped" else "")
    conversation.append({"role": "assistant", "content": answer.current_text})


async def main(user: str) -> None:
    """Read prompts until Ctrl-D. With tokens, use HubClient(HUB, token) instead of user=."""
    conversation: list[dict[str, str]] = []
    async with HubClient(HUB, user=user) as hub:
        while True:
            try:
                prompt = await asyncio.to_thread(input, "> ")
            except EOFError:
                return
            if prompt:
                conversation.append({"role": "user", "content": prompt})
                await print_answer(hub, conversation)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "alice"))
    except KeyboardInterrupt:
        sys.exit(130)
